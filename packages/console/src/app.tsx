import { lazy, Suspense, useEffect } from 'react'
import type { ReactNode } from 'react'
import { Redirect, Route, Switch, useLocation } from 'wouter'
import { loadSession, useSessionState } from './api/session.ts'
import { AgentPage } from './screens/agent.tsx'
import { Agents } from './screens/agents.tsx'
import { ApprovalPage } from './screens/approval.tsx'
import { Approvals } from './screens/approvals.tsx'
import { DecisionPage } from './screens/decision.tsx'
import { Decisions } from './screens/decisions.tsx'
import { Enrol } from './screens/enrol.tsx'
import { IncidentPage } from './screens/incident.tsx'
import { Incidents } from './screens/incidents.tsx'
import { NetworkPage } from './screens/network.tsx'
import { Overview } from './screens/overview.tsx'
import { Sessions } from './screens/sessions.tsx'
import { SignIn } from './screens/sign-in.tsx'
import { SignedIn } from './screens/signed-in.tsx'
import { Boundary } from './shell/boundary.tsx'
import { Door } from './shell/door.tsx'
import { Shell } from './shell/shell.tsx'
import { Button } from './ui/button.tsx'
import { Page } from './ui/page.tsx'
import { Empty, Skeleton } from './ui/parts.tsx'

// Looked at now and then, so they are no part of the first load.
const Keys = lazy(() => import('./screens/keys.tsx').then(({ Keys: page }) => ({ default: page })))
const Inventory = lazy(() =>
  import('./screens/inventory.tsx').then(({ Inventory: page }) => ({ default: page })),
)
const Mandates = lazy(() =>
  import('./screens/mandates.tsx').then(({ Mandates: page }) => ({ default: page })),
)
const MandatePage = lazy(() =>
  import('./screens/mandate.tsx').then(({ MandatePage: page }) => ({ default: page })),
)
const GiveMandate = lazy(() =>
  import('./screens/mandate-give.tsx').then(({ GiveMandate: page }) => ({ default: page })),
)

/** Signed out: the door. Signed in: the house. */
export function App(): ReactNode {
  const state = useSessionState()
  const [path] = useLocation()
  useEffect(() => {
    void loadSession()
  }, [])

  if (state.phase === 'loading') return <div className="boot" role="status" aria-label="Loading" />
  if (state.phase === 'unreachable') {
    return (
      <Door title="The control plane does not answer">
        <p>This page was served by it, so it may be restarting. On its machine:</p>
        <pre className="block">sallyport doctor</pre>
        <Button icon="refresh" onPress={() => void loadSession()}>
          Try again
        </Button>
      </Door>
    )
  }
  if (path === '/enrol') return <Enrol />
  if (path === '/signed-in') return <SignedIn />
  if (state.session.operator === null) return <SignIn bootstrap={state.session.bootstrap} />
  return (
    <Shell>
      <Boundary path={path}>
        <Suspense fallback={<Skeleton lines={10} what="Loading the screen" />}>
          <Switch>
            <Route path="/" component={Overview} />
            <Route path="/decisions" component={Decisions} />
            <Route path="/decisions/:id">{({ id }) => <DecisionPage key={id} id={id} />}</Route>
            <Route path="/approvals" component={Approvals} />
            <Route path="/approvals/:id">{({ id }) => <ApprovalPage key={id} id={id} />}</Route>
            <Route path="/agents" component={Agents} />
            <Route path="/agents/:name">{({ name }) => <AgentPage key={name} name={name} />}</Route>
            <Route path="/incidents" component={Incidents} />
            <Route path="/incidents/:id">{({ id }) => <IncidentPage key={id} id={id} />}</Route>
            <Route path="/mandates" component={Mandates} />
            <Route path="/mandates/give" component={GiveMandate} />
            <Route path="/mandates/:id">{({ id }) => <MandatePage key={id} id={id} />}</Route>
            <Route path="/network" component={NetworkPage} />
            <Route path="/inventory" component={Inventory} />
            <Route path="/keys" component={Keys} />
            <Route path="/sessions" component={Sessions} />
            <Route path="/sign-in">
              <Redirect to="/" />
            </Route>
            <Route>
              <Page title="No such page">
                <Empty title="There is nothing at this address">
                  <p>It may have been copied short. Every screen is in the menu on the left.</p>
                </Empty>
              </Page>
            </Route>
          </Switch>
        </Suspense>
      </Boundary>
    </Shell>
  )
}

import { useEffect, useRef, useState } from 'react'
import type { ReactNode } from 'react'
import { startAuthentication } from '@simplewebauthn/browser'
import { Link, useLocation } from 'wouter'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { MandateStatement, MandateView } from '../api/mandate-types.ts'
import type { AgentInfo, NetworkInfo, StatementOptions } from '../api/types.ts'
import { canonicalJson } from '../lib/canonical.ts'
import { checkMandate } from '../lib/ceremony.ts'
import { instanceName } from '../lib/format.ts'
import { callsOf, EMPTY_FORM, readForm } from '../lib/mandate-draft.ts'
import type { MandateForm } from '../lib/mandate-draft.ts'
import { whyNotGive } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { visible } from '../lib/visible.ts'
import { Button } from '../ui/button.tsx'
import { Field, TextArea } from '../ui/field.tsx'
import { Page } from '../ui/page.tsx'
import { Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'
import { GrantFields } from './mandate-grant.tsx'
import { MandateTerms } from './mandate-terms.tsx'
import '../styles/mandates.css'

type Offered = StatementOptions<MandateStatement>

/** Where a person gives a mandate: say what, read exactly what is signed, sign it. */
export function GiveMandate(): ReactNode {
  const network = useResource<NetworkInfo>('/network')
  const agents = useResource<readonly AgentInfo[]>('/agents')
  const [form, setForm] = useState<MandateForm>(EMPTY_FORM)
  const [offered, setOffered] = useState<Offered>()
  const why = whyNotGive(useSession())
  const { data } = network
  return (
    <Page
      title="Give a mandate"
      lead={
        offered
          ? 'Read it. This, and nothing else, is what your passkey signs.'
          : 'For one task: which agent, which calls, how often, how much and until when.'
      }
      aside={
        <Link href="/mandates" className="button quiet">
          All mandates
        </Link>
      }
    >
      {network.error && <Failure error={network.error} retry={network.reload} />}
      {!data && !network.error && <Skeleton lines={10} what="Loading the declaration" />}
      {data && why !== '' && (
        <Panel>
          <Empty title="You cannot give one in this session">
            <p>{why}</p>
          </Empty>
        </Panel>
      )}
      {data && why === '' && !offered && (
        <Fill
          form={form}
          change={setForm}
          info={data}
          agents={agents.data ?? []}
          onDrawn={setOffered}
        />
      )}
      {offered && <Sign offered={offered} onBack={() => setOffered(undefined)} />}
    </Page>
  )
}

function Fill(props: {
  form: MandateForm
  change: (form: MandateForm) => void
  info: NetworkInfo
  agents: readonly AgentInfo[]
  onDrawn: (offered: Offered) => void
}): ReactNode {
  const { form, change, info, agents, onDrawn } = props
  const { network } = info
  const operator = useSession().operator?.name ?? ''
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const [asked, setAsked] = useState(false)
  // What a press adds takes the focus: the button that was pressed is gone.
  const [added, setAdded] = useState(0)
  const { draft, missing } = readForm(form, network)
  const set = (part: Partial<MandateForm>): void => change({ ...form, ...part })
  const calls = callsOf(network, form.agent)
  const unused = [...calls.keys()].filter((name) =>
    form.grants.every(({ system }) => system !== name),
  )
  const add = (system: string): void => {
    const key = Math.max(0, ...form.grants.map((grant) => grant.key)) + 1
    setAdded(key)
    set({ grants: [...form.grants, { key, system, operations: [], conditions: [] }] })
  }

  const review = async (): Promise<void> => {
    setAsked(true)
    if (!draft) return
    setBusy(true)
    setError('')
    try {
      const drawn = await post<Offered>('/mandates/options', draft)
      await checkMandate(draft, operator, drawn)
      onDrawn(drawn)
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
    }
  }
  const instances = agents.find(({ name }) => name === form.agent)?.instances ?? []
  return (
    <form
      className="columns"
      onSubmit={(event) => {
        event.preventDefault()
        void review()
      }}
    >
      <div className="column-main">
        <Panel title="Who, and what for">
          <div className="fields">
            <Field label="Agent">
              {(id) => (
                <select
                  id={id}
                  value={form.agent}
                  onChange={(event) =>
                    // What one agent may call says nothing about another: the choice starts anew.
                    set({ agent: event.target.value, instance: '', grants: [] })
                  }
                >
                  <option value="">Choose…</option>
                  {network.agents.map(({ name }) => (
                    <option key={name}>{name}</option>
                  ))}
                </select>
              )}
            </Field>
            <Field label="Instance">
              {(id) => (
                <select
                  id={id}
                  value={form.instance}
                  onChange={(event) => set({ instance: event.target.value })}
                >
                  <option value="">Any instance of it</option>
                  {instances.map(({ spiffeId }) => (
                    <option key={spiffeId} value={spiffeId}>
                      Only {instanceName(spiffeId)}
                    </option>
                  ))}
                </select>
              )}
            </Field>
            <TextArea
              label="Task, in words: policies and whoever looks later read it"
              value={form.task}
              maxLength={512}
              onChange={(task) => set({ task })}
            />
          </div>
        </Panel>
        {form.grants.map((grant) => (
          <GrantFields
            key={grant.key}
            grant={grant}
            network={network}
            offered={calls.get(grant.system) ?? []}
            focused={grant.key === added}
            change={(next) =>
              set({ grants: form.grants.map((one) => (one.key === grant.key ? next : one)) })
            }
            remove={() => set({ grants: form.grants.filter(({ key }) => key !== grant.key) })}
          />
        ))}
        <Panel title={form.grants.length === 0 ? 'What it may call' : 'More'}>
          <div className="panel-text">
            {form.agent === '' && <p className="muted">Choose the agent first.</p>}
            {form.agent !== '' && calls.size === 0 && (
              <p className="muted">
                No flow from {form.agent} is declared, so a mandate would be good for nothing.
              </p>
            )}
            {unused.length > 0 && (
              <div className="decide-acts">
                {unused.map((system) => (
                  <Button key={system} icon="system" onPress={() => add(system)}>
                    Calls to {system}
                  </Button>
                ))}
              </div>
            )}
            {form.agent !== '' && calls.size > 0 && (
              <p className="muted small mandate-hint">
                Offered is what flows declare for {form.agent}. Anything else is refused before a
                policy is asked, with or without a mandate.
              </p>
            )}
          </div>
        </Panel>
        <Panel title="How often, and for how long">
          <div className="fields">
            <Field label="Calls, all together">
              {(id) => (
                <input
                  id={id}
                  className="filter-input num"
                  inputMode="numeric"
                  value={form.uses}
                  onChange={(event) => set({ uses: event.target.value })}
                />
              )}
            </Field>
            <div className="field-pair">
              <Field label="Time">
                {(id) => (
                  <input
                    id={id}
                    className="filter-input num"
                    inputMode="numeric"
                    value={form.time}
                    onChange={(event) => set({ time: event.target.value })}
                  />
                )}
              </Field>
              <Field label="Unit">
                {(id) => (
                  <select
                    id={id}
                    value={form.unit}
                    onChange={(event) => {
                      // The options are the units.
                      set({ unit: event.target.value as MandateForm['unit'] })
                    }}
                  >
                    <option>minutes</option>
                    <option>hours</option>
                    <option>days</option>
                  </select>
                )}
              </Field>
            </div>
          </div>
        </Panel>
      </div>
      <div className="column-side mandate-side">
        <Panel title="In plain words">
          {draft ? (
            <MandateTerms delegator={`operator:${operator}`} terms={draft} />
          ) : (
            <div className="panel-text">
              <p className="muted">Still missing:</p>
              <div role="status">
                <ul className="mandate-missing">
                  {missing.map((sentence) => (
                    <li key={sentence}>{sentence}</li>
                  ))}
                </ul>
              </div>
            </div>
          )}
        </Panel>
        <div className="decide">
          <div className="decide-acts">
            <Button kind="primary" icon="chevron" type="submit" disabled={busy}>
              Read what is signed
            </Button>
          </div>
          <p className="door-error" role="alert">
            {asked && !draft ? `It is not complete. ${missing.join(' ')}` : error}
          </p>
        </div>
      </div>
    </form>
  )
}

function Sign({ offered, onBack }: { offered: Offered; onBack: () => void }): ReactNode {
  const { statement, options } = offered
  const [, navigate] = useLocation()
  const box = useRef<HTMLDivElement>(null)
  useEffect(() => {
    // The form is gone, and what is to be read comes next: from its beginning.
    box.current?.focus({ preventScroll: true })
    box.current?.closest('main')?.scrollTo(0, 0)
  }, [])
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const sign = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      const response = await startAuthentication({ optionsJSON: options })
      const given = await post<MandateView>('/mandates', { statement, response })
      invalidate('/mandates', 0)
      navigate(`/mandates/${given.id}`)
    } catch (failure) {
      setError(passkeyFailure(failure))
      setBusy(false)
    }
  }
  return (
    <div className="mandate-review" ref={box} tabIndex={-1} role="group" aria-label="What you sign">
      <Panel title="What you sign, in plain words">
        <MandateTerms
          delegator={statement.delegator}
          terms={{
            ...statement,
            lifetimeSeconds: (statement.expiresAt - statement.notBefore) / 1000,
          }}
          until={statement.expiresAt}
        />
      </Panel>
      <Panel title="The exact text">
        <pre className="block mandate-exact">{visible(canonicalJson(statement))}</pre>
        <p className="panel-text muted small">
          Your passkey signs the SHA-256 of this text. If a single letter of it changes, no gateway
          takes it.
        </p>
      </Panel>
      <div className="decide">
        <div className="decide-acts">
          <Button kind="primary" icon="key" busy={busy} onPress={() => void sign()}>
            Sign with passkey
          </Button>
          <Button kind="quiet" disabled={busy} onPress={onBack}>
            Change it
          </Button>
        </div>
        <p className="door-error" role="alert">
          {error}
        </p>
      </div>
    </div>
  )
}

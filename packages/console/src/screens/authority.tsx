import { useState } from 'react'
import type { ReactNode } from 'react'
import { post } from '../api/client.ts'
import { useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { AuthorityView, Generation } from '../api/key-types.ts'
import { whyNotSucceed } from '../lib/may.ts'
import { useReread } from '../lib/reread.ts'
import { visible } from '../lib/visible.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { ConfirmAct } from './authority-act.tsx'
import { Roots } from './roots.tsx'
import { Countdown, Empty, Facts, Failure, Panel, Skeleton, Time } from '../ui/parts.tsx'

type Act = 'prepare' | 'activate'

const ACTS = {
  prepare: {
    title: 'Prepare a successor',
    button: 'Prepare it now',
    text: [
      'A new key and a signing certificate for it are made now. The present one goes on signing.',
      'It happens by itself at half of the present one’s life. Do it earlier where the present key may be in other hands.',
    ],
  },
  activate: {
    title: 'Put the successor in use',
    button: 'Sign with it from now on',
    text: [
      'Every identity that is issued or renewed from now on is signed by the successor. The present one is retired and never signs again.',
      'What it signed stays valid until it expires by itself, so nobody is cut off. To cut somebody off, quarantine them.',
    ],
  },
} as const

/** What signs identities below the root, what does next, and what still counts. */
export function Authority(): ReactNode {
  useReread('/ca', 30_000)
  const { data, error, reload } = useResource<AuthorityView>('/ca')
  const [act, setAct] = useState<Act>()
  const why = whyNotSucceed(useSession())
  if (!data) {
    return error ? (
      <Failure error={error} retry={reload} />
    ) : (
      <Panel>
        <Skeleton lines={6} what="Loading the signing certificates" />
      </Panel>
    )
  }
  const prepared = data.generations.some(({ state }) => state === 'prepared')
  return (
    <>
      {error && <Failure error={error} retry={reload} />}
      <div className="columns">
        <div className="column-main">
          <Panel title="Signing certificates below the root">
            <Generations view={data} />
          </Panel>
          {data.belowRoot && (
            <div className="decide">
              <div className="decide-acts">
                <Button
                  icon="refresh"
                  disabled={why !== '' || prepared}
                  describedBy="succeed-reason"
                  onPress={() => setAct('prepare')}
                >
                  Prepare a successor…
                </Button>
                <Button
                  kind={prepared ? 'primary' : 'quiet'}
                  icon="key"
                  disabled={why !== '' || !prepared}
                  describedBy="succeed-reason"
                  onPress={() => setAct('activate')}
                >
                  Put it in use…
                </Button>
              </div>
              <p id="succeed-reason" className="muted">
                {why !== ''
                  ? why
                  : prepared
                    ? 'A successor is prepared. It is put in use by itself with a sixth of the present one’s life left.'
                    : 'There is no successor yet. One is prepared by itself at half of the present one’s life.'}
              </p>
            </div>
          )}
          <Roots roots={data.roots} />
        </div>
        <div className="column-side">
          <Panel title="The root that signs">
            <Facts
              rows={[
                ['Ends', <Time key="e" at={data.rootNotAfter} full />],
                ['Time left', <Countdown key="l" at={data.rootNotAfter} done="over" />],
                ['Signs', data.belowRoot ? 'signing certificates alone' : 'identities, itself'],
              ]}
            />
            <p className="panel-text muted small panel-foot">
              Gateways and agents trust the root, so none of them has to learn of a successor of
              what signs below it.
            </p>
          </Panel>
        </div>
      </div>
      {act && (
        <ConfirmAct
          {...ACTS[act]}
          act={() => post(`/ca/${act}`)}
          onClose={() => setAct(undefined)}
        />
      )}
    </>
  )
}

function Generations({ view: { belowRoot, generations } }: { view: AuthorityView }): ReactNode {
  if (generations.length === 0) {
    return (
      <Empty title={belowRoot ? 'None yet' : 'The root signs identities itself'}>
        {!belowRoot && (
          <p>
            It permits nothing below it, or its key is where the control plane cannot use it so.
          </p>
        )}
      </Empty>
    )
  }
  const order = { active: 0, prepared: 1, retired: 2 }
  const rows = generations.toSorted(
    (a, b) => order[a.state] - order[b.state] || b.notAfter - a.notAfter,
  )
  return (
    <div className="scroll-x">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Certificate</th>
            <th scope="col">State</th>
            <th scope="col">Since</th>
            <th scope="col">Ends</th>
            <th scope="col">Time left</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((one) => (
            <tr key={one.id}>
              <th scope="row" className="mono nowrap" title={visible(one.id)}>
                {visible(one.id.slice(0, 12))}
              </th>
              <td>
                <GenerationState state={one.state} />
              </td>
              <td className="nowrap">
                <Time at={one.retiredAt ?? one.activatedAt ?? one.preparedAt} full />
              </td>
              <td className="nowrap">
                <Time at={one.notAfter} full />
              </td>
              <td className="nowrap">
                <Countdown at={one.notAfter} of={one.notAfter - one.notBefore} done="over" />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function GenerationState({ state }: { state: Generation['state'] }): ReactNode {
  switch (state) {
    case 'active':
      return (
        <Badge tone="allow" icon="key">
          Signs now
        </Badge>
      )
    case 'prepared':
      return (
        <Badge tone="accent" icon="needs">
          Signs next
        </Badge>
      )
    case 'retired':
      return <Badge>Signed before</Badge>
  }
}

import { useState } from 'react'
import type { ReactNode } from 'react'
import { post } from '../api/client.ts'
import { useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type { RootStatement, RootView } from '../api/key-types.ts'
import type { NetworkInfo } from '../api/types.ts'
import { checkRoot } from '../lib/ceremony.ts'
import { whyNotPrepareRoot, whyNotSign, whyNotSucceed } from '../lib/may.ts'
import { useNow } from '../lib/now.ts'
import { signStatement } from '../lib/sign.ts'
import { visible } from '../lib/visible.ts'
import { Badge } from '../ui/badge.tsx'
import type { Tone } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Countdown, Panel, Time } from '../ui/parts.tsx'
import { ConfirmAct } from './authority-act.tsx'

type Step = 'prepare' | 'sign' | 'cancel' | 'activate' | 'retire'

interface Words {
  readonly title: string
  readonly button: string
  readonly text: readonly string[]
}

const WORDS: Readonly<Record<Step, Words>> = {
  prepare: {
    title: 'Prepare a successor of the root',
    button: 'Prepare it now',
    text: [
      'A new key and a root certificate for it are made now. Nobody trusts it: a quorum of admins has to sign it first.',
    ],
  },
  sign: {
    title: 'Trust another root?',
    button: 'Sign with passkey',
    text: [
      'This is the widest act there is: whatever is signed below this root will be believed by every gateway and agent.',
      'Compare the fingerprint with what “sallyport ca show --json” prints on the machine of the control plane.',
    ],
  },
  cancel: {
    title: 'Forget the prepared root',
    button: 'Forget it',
    text: ['Its key is destroyed, and so are the signatures that it has. Nobody trusted it.'],
  },
  activate: {
    title: 'Put the new root in use',
    button: 'Sign below it from now on',
    text: [
      'Identities are issued below the new root from now on. The one before stays trusted until you end that, so nobody is cut off.',
    ],
  },
  retire: {
    title: 'End trust in this root',
    button: 'End trust in it for ever',
    text: [
      'Nothing below this root is believed any more, by anybody. It cannot be taken back: a retired root never counts again.',
    ],
  },
}

/** Roots of the trust domain: which sign, which are trusted, and the successor that a quorum has to sign. */
export function Roots({ roots }: { roots: readonly RootView[] }): ReactNode {
  const session = useSession()
  const network = useResource<NetworkInfo>('/network').data?.network
  const [step, setStep] = useState<{ step: Step; root?: RootView }>()
  const successor = roots.find(({ state }) => state === 'prepared' || state === 'trusted')
  const why = whyNotPrepareRoot(session)
  const act = async (): Promise<unknown> => {
    if (step?.step !== 'sign') {
      const { fingerprint } = step?.root ?? {}
      const body = step?.step === 'retire' ? { fingerprint } : {}
      return post(`/ca/root/${step?.step ?? ''}`, body)
    }
    return signStatement<RootStatement, unknown>(
      { options: '/ca/root/sign/options', submit: '/ca/root/sign' },
      {},
      (offered) => checkRoot(step.root?.fingerprint ?? '', network?.trustDomain ?? '', offered),
    )
  }
  return (
    <>
      <Panel
        title="Roots of the trust domain"
        aside={
          <Button
            icon="refresh"
            disabled={why !== '' || successor !== undefined}
            describedBy="root-reason"
            onPress={() => setStep({ step: 'prepare' })}
          >
            Prepare a root…
          </Button>
        }
      >
        <ul className="roots">
          {roots.map((root) => (
            <Root
              key={root.fingerprint}
              root={root}
              onStep={(next) => setStep({ step: next, root })}
            />
          ))}
        </ul>
        <p id="root-reason" className="panel-text muted small">
          {why !== ''
            ? why
            : successor
              ? 'One successor at a time.'
              : 'Replace the root before it ends, or where its key may be in other hands.'}
        </p>
      </Panel>
      {step && (
        <ConfirmAct
          {...WORDS[step.step]}
          danger={step.step === 'retire' || step.step === 'cancel'}
          act={act}
          onClose={() => setStep(undefined)}
        >
          {step.root && (
            <p className="block root-fingerprint">
              <span className="sr-only">Fingerprint: </span>
              {inGroups(step.root.fingerprint)}
            </p>
          )}
        </ConfirmAct>
      )}
    </>
  )
}

const STATES: Readonly<Record<RootView['state'], readonly [string, Tone]>> = {
  prepared: ['Waits for signatures', 'needs'],
  trusted: ['Trusted, not in use', 'accent'],
  active: ['Signs', 'allow'],
  outgoing: ['Trusted, signs no more', 'needs'],
  retired: ['Trusted no more', 'neutral'],
}

function Root({ root, onStep }: { root: RootView; onStep: (step: Step) => void }): ReactNode {
  const session = useSession()
  const { state, fingerprint, signed = [], quorum, waitsUntil } = root
  const [word, tone] = STATES[state]
  const waits = (waitsUntil ?? 0) > useNow()
  const why = whyNotSucceed(session)
  const whyNotSigned = whyNotSign(session, signed)
  const since = root.retiredAt ?? root.activatedAt ?? root.trustedAt ?? root.preparedAt
  return (
    <li>
      <div className="root-what">
        <span className="mono" title={fingerprint}>
          {inGroups(fingerprint.slice(0, 16))}…
        </span>{' '}
        <Badge tone={tone}>{word}</Badge>
        <span className="cell-note">
          since <Time at={since} full />, made by {visible(root.preparedBy)}
          {root.notAfter !== undefined && (
            <>
              , ends <Time at={root.notAfter} full />
            </>
          )}
        </span>
        {state === 'prepared' && (
          <span className="cell-note">
            Signed by {signed.length} of {quorum ?? '?'}
            {signed.length > 0 && `: ${signed.map(visible).join(', ')}`}. {whyNotSigned}
          </span>
        )}
        {waits && waitsUntil !== undefined && (
          <span className="cell-note">
            {state === 'trusted'
              ? 'Not everybody has heard of it: it can be put in use in '
              : 'Identities below it are still in use: trust in it can end in '}
            <Countdown at={waitsUntil} done="no time" />.
          </span>
        )}
      </div>
      <div className="decide-acts">
        {state === 'prepared' && (
          <>
            <Button
              kind="primary"
              icon="key"
              disabled={whyNotSigned !== ''}
              onPress={() => onStep('sign')}
            >
              Sign…
            </Button>
            <Button kind="danger" disabled={why !== ''} onPress={() => onStep('cancel')}>
              Forget it…
            </Button>
          </>
        )}
        {state === 'trusted' && (
          <Button
            kind="primary"
            icon="key"
            disabled={why !== '' || waits}
            onPress={() => onStep('activate')}
          >
            Put this root in use…
          </Button>
        )}
        {state === 'outgoing' && (
          <Button kind="danger" disabled={why !== '' || waits} onPress={() => onStep('retire')}>
            End trust in it…
          </Button>
        )}
      </div>
    </li>
  )
}

/** Hex in groups of four, as people compare it. */
const inGroups = (hex: string): string => hex.match(/.{1,4}/g)?.join(' ') ?? hex

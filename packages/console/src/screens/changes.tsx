import { useState } from 'react'
import type { ReactNode } from 'react'
import { post } from '../api/client.ts'
import { invalidate, useResource } from '../api/resource.ts'
import { useSession } from '../api/session.ts'
import type {
  DeclarationStatement,
  OperatorsInfo,
  OperatorsStatement,
  Proposal,
} from '../api/types.ts'
import { checkDeclaration, checkOperators } from '../lib/ceremony.ts'
import { whyNotSign } from '../lib/may.ts'
import { passkeyFailure } from '../lib/passkey.ts'
import { signStatement } from '../lib/sign.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Ago, Copyable, Empty, Failure, Panel, Skeleton, Tags } from '../ui/parts.tsx'
import { ShadowBox, Stages } from './shadow.tsx'

/** What waits for operators' signatures before it goes live, and who the operators are. */
export function Changes(): ReactNode {
  const proposals = useResource<readonly Proposal[]>('/declaration/proposals')
  const people = useResource<OperatorsInfo>('/operators')
  return (
    <>
      <Panel title="Declarations that wait for signatures">
        {proposals.error && <Failure error={proposals.error} retry={proposals.reload} />}
        {!proposals.data && !proposals.error && <Skeleton lines={3} what="Loading proposals" />}
        {proposals.data?.length === 0 && (
          <Empty title="Nothing waits">
            <p>
              Edit <code>network.yaml</code> or a policy and run <code>sallyport check</code>: what
              differs from the declaration in force appears here, to be signed by the quorum.
            </p>
          </Empty>
        )}
        {proposals.data?.map((proposal) => (
          <ProposalBox key={proposal.digest} proposal={proposal} />
        ))}
      </Panel>
      <Panel title="Operators and their passkeys">
        {people.error && <Failure error={people.error} retry={people.reload} />}
        {!people.data && !people.error && <Skeleton lines={3} what="Loading operators" />}
        {people.data && <People info={people.data} />}
      </Panel>
    </>
  )
}

/** The button of a signing ceremony, its progress, and why it cannot be pressed. */
function SignBox(props: {
  signed: readonly string[]
  quorum: number
  /** Why the last signature would not be taken yet; empty where it would. */
  wait?: string
  act: () => Promise<unknown>
}): ReactNode {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState('')
  const reason = whyNotSign(useSession(), props.signed) || (props.wait ?? '')
  const sign = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await props.act()
    } catch (failure) {
      setError(passkeyFailure(failure))
    } finally {
      setBusy(false)
      for (const path of ['/declaration', '/operators', '/network']) invalidate(path, 0)
    }
  }
  return (
    <div className="sign-box">
      <Button
        kind="primary"
        icon="key"
        busy={busy}
        disabled={reason !== ''}
        onPress={() => void sign()}
      >
        Sign with passkey
      </Button>
      <span className="muted">
        {props.signed.length} of {props.quorum} signed
        {props.signed.length > 0 && `: ${props.signed.join(', ')}`}. {reason}
      </span>
      <p className="door-error" role="alert">
        {error}
      </p>
    </div>
  )
}

/** The control plane refuses the last signature before the declared minutes of shadow are over. */
function waitForShadow({ shadow, signed, quorum }: Proposal): string {
  const left = shadow.required - shadow.minutes
  if (left <= 0 || signed.length + 1 < quorum) return ''
  return `The last signature is taken after ${left} more minutes of shadow.`
}

function ProposalBox({ proposal }: { proposal: Proposal }): ReactNode {
  const { digest, diff } = proposal
  return (
    <article className="proposal">
      <p className="panel-text">
        <Copyable text={digest} shown={`${digest.slice(0, 24)}…`} label="Copy the digest" />{' '}
        <span className="muted">
          {proposal.serial === undefined
            ? 'drawn up before what is in force, to be signed anew'
            : `draft ${proposal.serial}`}
          , proposed by{' '}
          {proposal.proposedBy === 'file' ? 'the declaration on disk' : proposal.proposedBy},{' '}
          <Ago at={proposal.proposedAt} />
        </span>
      </p>
      <Stages proposal={proposal} />
      <div className="scroll-x">
        <table className="table diff">
          <thead>
            <tr>
              <th scope="col">Where</th>
              <th scope="col">Change</th>
              <th scope="col">In force</th>
              <th scope="col">Proposed</th>
            </tr>
          </thead>
          <tbody>
            {diff.map((entry) => (
              <tr key={entry.path}>
                <th scope="row" className="mono">
                  {entry.path}
                </th>
                <td>
                  <Badge tone={entry.change === 'removed' ? 'deny' : 'accent'}>
                    {entry.change}
                  </Badge>
                </td>
                <td>
                  <code className="wrap">{entry.before}</code>
                </td>
                <td>
                  <code className="wrap">{entry.after}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <ShadowBox proposal={proposal} />
      <SignBox
        signed={proposal.signed}
        quorum={proposal.quorum}
        wait={waitForShadow(proposal)}
        act={() =>
          signStatement<DeclarationStatement, unknown>(
            { options: '/declaration/sign/options', submit: '/declaration/sign' },
            { digest },
            (offered) => checkDeclaration(proposal, offered),
            { digest },
          )
        }
      />
    </article>
  )
}

function People({ info }: { info: OperatorsInfo }): ReactNode {
  const { proposed } = info
  return (
    <>
      <div className="scroll-x">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Operator</th>
              <th scope="col">Roles</th>
              <th scope="col">Passkeys</th>
              <th scope="col">One-time codes</th>
              <th scope="col">Enrol</th>
            </tr>
          </thead>
          <tbody>
            {info.operators.map((operator) => (
              <tr key={operator.name}>
                <th scope="row">
                  {operator.displayName} <span className="muted">{operator.name}</span>
                </th>
                <td>
                  <Tags tags={operator.roles} />
                </td>
                <td className="num">{operator.credentialIds.length || 'none'}</td>
                <td>{operator.totp ? 'set up' : 'none'}</td>
                <td>
                  <EnrolLink operator={operator.name} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {proposed && (
        <article className="proposal">
          <p className="panel-text">
            <strong>A new set of keys waits for signatures</strong> (version{' '}
            {proposed.statement.set.version}): <KeyChanges info={info} />
          </p>
          <SignBox
            signed={proposed.signed}
            quorum={proposed.quorum}
            act={() =>
              signStatement<OperatorsStatement, unknown>(
                { options: '/operators/sign/options', submit: '/operators/sign' },
                {},
                (offered) => checkOperators(proposed.statement, offered),
              )
            }
          />
        </article>
      )}
    </>
  )
}

/** Which keys the proposed set adds to those in force, and which it takes away. */
function KeyChanges({ info }: { info: OperatorsInfo }): ReactNode {
  const next = info.proposed?.statement.set.keys ?? []
  const now = info.operators.flatMap(({ name, credentialIds }) =>
    credentialIds.map((credentialId) => ({ operator: name, credentialId })),
  )
  const missing = <K extends { credentialId: string }>(
    all: readonly K[],
    from: readonly { credentialId: string }[],
  ): K[] => all.filter(({ credentialId }) => !from.some((key) => key.credentialId === credentialId))
  const words = [
    ...missing(next, now).map(
      ({ operator, roles }) => `adds a key of ${operator} (${roles.join(', ')})`,
    ),
    ...missing(now, next).map(({ operator }) => `removes a key of ${operator}`),
  ]
  return words.length === 0 ? 'changes roles only.' : `${words.join('; ')}.`
}

function EnrolLink({ operator }: { operator: string }): ReactNode {
  const [url, setUrl] = useState('')
  const [error, setError] = useState('')
  if (whyNotSign(useSession(), []) !== '')
    return <span className="muted">an admin makes links</span>
  if (url !== '') {
    return <Copyable text={url} shown="one-time link" label={`Copy the link for ${operator}`} />
  }
  const make = async (): Promise<void> => {
    try {
      setUrl((await post<{ readonly url: string }>('/operators/links', { operator })).url)
    } catch (failure) {
      setError(passkeyFailure(failure))
    }
  }
  return (
    <>
      <button type="button" className="link" onClick={() => void make()}>
        Make a one-time link<span className="sr-only"> for {operator}</span>
      </button>
      <span role="alert" className="tone-deny">
        {error}
      </span>
    </>
  )
}

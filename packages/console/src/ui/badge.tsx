import type { ReactNode } from 'react'
import type { DecisionKind } from '../api/types.ts'
import type { MandateState } from '../lib/mandate-tree.ts'
import { outcomeOf } from '../lib/outcome.ts'
import { Icon } from './icon.tsx'
import type { IconName } from './icon.tsx'

export type Tone = 'neutral' | 'allow' | 'deny' | 'needs' | 'accent'

/** A word with a tone; never the tone alone. */
export function Badge(props: {
  tone?: Tone
  icon?: IconName
  title?: string
  children: ReactNode
}): ReactNode {
  return (
    <span className={`badge tone-${props.tone ?? 'neutral'}`} title={props.title}>
      {props.icon && <Icon name={props.icon} size={12} />}
      {props.children}
    </span>
  )
}

/** Allowed, needs approval, or which of the kinds of refusal it was. */
export function DecisionBadge(props: { decision: DecisionKind; code: string }): ReactNode {
  const outcome = outcomeOf(props.decision, props.code)
  return (
    <Badge tone={props.decision} icon={outcome.icon} title={`${outcome.label} (${props.code})`}>
      {outcome.label}
    </Badge>
  )
}

/** How much hangs on an agent or system: a fact, not an alarm, so without an alarm's colours. */
export function Criticality({ level }: { level: string }): ReactNode {
  return <span className={level === 'critical' ? 'badge strong' : 'badge'}>{level}</span>
}

/** A data class, darker as it grows more sensitive. */
export function ClassChip({ level }: { level: string }): ReactNode {
  return <span className={`class-chip class-${level}`}>{level}</span>
}

/** A score out of 100 with its bar. */
export function Risk({ score }: { score: number }): ReactNode {
  const tone = score >= 70 ? 'deny' : score >= 40 ? 'needs' : 'calm'
  return (
    <span className={`risk tone-${tone}`}>
      <svg className="risk-bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        <rect className="risk-track" width="100" height="6" />
        {score >= 0.5 && (
          <rect className="risk-fill" width={Math.max(3, Math.min(100, score))} height="6" />
        )}
      </svg>
      <span className="num">{Math.round(score)}</span>
    </span>
  )
}

const MANDATE = {
  active: { word: 'In force', tone: 'allow', icon: 'allow' },
  used: { word: 'Used up', tone: 'neutral', icon: 'absent' },
  expired: { word: 'Expired', tone: 'neutral', icon: 'absent' },
  revoked: { word: 'Ended', tone: 'deny', icon: 'close' },
  cut: { word: 'Signer quarantined', tone: 'deny', icon: 'lock' },
} as const

/** Whether a mandate can be used now, or why not. */
export function MandateBadge({ state }: { state: MandateState }): ReactNode {
  const { word, tone, icon } = MANDATE[state]
  return (
    <Badge tone={tone} icon={icon}>
      {word}
    </Badge>
  )
}

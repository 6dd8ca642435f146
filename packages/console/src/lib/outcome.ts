import type { DecisionKind } from '../api/types.ts'
import type { IconName } from '../ui/icon.tsx'

export interface OutcomeText {
  readonly label: string
  readonly icon: IconName
  /** What this kind of outcome means, for people who meet it for the first time. */
  readonly meaning: string
}

const REFUSALS: Readonly<Record<string, OutcomeText>> = {
  SP_DENIED_FORBIDDEN: {
    label: 'Forbidden',
    icon: 'forbid',
    meaning:
      'A forbid policy matched. A permit cannot outweigh it: the forbid itself would have to change.',
  },
  SP_DENIED_NOT_PERMITTED: {
    label: 'Not permitted',
    icon: 'absent',
    meaning:
      'Nothing forbade the call, and nothing permitted it. What no policy permits is denied.',
  },
  SP_DENIED_PARTIAL: {
    label: 'Not whole',
    icon: 'absent',
    meaning:
      'The answer is bytes, of which nothing can be masked or left out, and policies do not let it leave whole. That denies.',
  },
  SP_DENIED_POLICY_ERROR: {
    label: 'Policy error',
    icon: 'broken',
    meaning:
      'A policy could not be evaluated, so nobody can say what it would have forbidden. That denies.',
  },
  SP_NO_FLOW: {
    label: 'No flow',
    icon: 'noflow',
    meaning: 'The call runs along no declared flow. It was refused before any policy was asked.',
  },
  SP_LIMIT_REACHED: {
    label: 'Limited',
    icon: 'pause',
    meaning: 'A declared limit is used up for now. Policy had nothing against the call.',
  },
  SP_LIMIT_UNAVAILABLE: {
    label: 'Limit unknown',
    icon: 'broken',
    meaning: 'Nobody could say whether a declared limit still had room, and that denies.',
  },
  SP_QUARANTINED: {
    label: 'Quarantined',
    icon: 'lock',
    meaning: 'The instance is cut off. Policies are not asked until an operator releases it.',
  },
  SP_SVID_REVOKED: {
    label: 'Revoked',
    icon: 'lock',
    meaning:
      'The instance’s certificate was revoked, as quarantine does: it cannot prove who it is.',
  },
  SP_SVID_EXPIRED: {
    label: 'Expired',
    icon: 'lock',
    meaning: 'The instance’s certificate had run out, and it had not renewed it.',
  },
  SP_STALE: {
    label: 'Stale',
    icon: 'broken',
    meaning:
      'The gateway had not heard from the control plane for longer than this call may bear, and that denies.',
  },
}

/** How an outcome is named and drawn; a code we do not know is still a refusal. */
export function outcomeOf(decision: DecisionKind, code: string): OutcomeText {
  if (decision === 'allow') {
    return { label: 'Allowed', icon: 'allow', meaning: 'A permit matched and no forbid did.' }
  }
  if (decision === 'needs') {
    return {
      label: 'Needs approval',
      icon: 'needs',
      meaning: 'The same call would be allowed with the approval named below.',
    }
  }
  return (
    REFUSALS[code] ?? {
      label: 'Refused',
      icon: 'deny',
      meaning: `The gateway refused it with ${code}, whatever policies say.`,
    }
  )
}

import { SallyportError } from '@sallyport/base'

export function unusable(detail: string): SallyportError {
  return new SallyportError(
    'SP_ENROL_ANSWER',
    'the control plane issued an identity that cannot be used',
    { detail },
  )
}

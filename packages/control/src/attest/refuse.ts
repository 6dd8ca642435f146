import { SallyportError } from '@sallyport/base'

/** The one answer to a proof that does not hold; the detail is for operators, since it would tell strangers what to try next. */
export function refuse(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_ATTESTATION_REFUSED', 'the attestation is not accepted', {
    detail,
    fix: 'compare what is presented with `attest` and `attestors` in network.yaml',
    ...(cause === undefined ? {} : { cause }),
  })
}

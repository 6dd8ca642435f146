import { SallyportError } from '@sallyport/base'

export const failed = (cause?: unknown): SallyportError =>
  new SallyportError('SP_LOG_FAILED', 'the audit log cannot be made durable', {
    detail: cause instanceof Error ? cause.message : 'an earlier write or sync failed',
    fix: 'free space or mend the disk, then restart the process; it verifies the log as it opens it',
    cause,
  })

export const closed = (): SallyportError =>
  new SallyportError('SP_LOG_CLOSED', 'the audit log is closed')

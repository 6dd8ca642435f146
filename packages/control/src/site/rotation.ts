import { errorCode, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { checkCertificate, readCertificateFiles } from './certificate.ts'
import type { CertificateBytes, CertificateFacts, CertificateFiles } from './certificate.ts'

const DAY_MS = 86_400_000
const SOON_MS = 14 * DAY_MS

export interface CertificateState extends CertificateFacts {
  /** Why what stands in the files now is not served. */
  readonly problem?: { readonly code: string; readonly text: string }
}

/** The certificate that is served, and the watch over its files. */
export interface CertificateKeeper {
  current(): CertificateBytes
  state(): CertificateState
  /** Calls back with each good replacement, until `stop`. */
  watch(onReplaced: (bytes: CertificateBytes) => void): void
  stop(): void
}

/**
 * Takes a certificate up, and takes replacements up as the files change. They are read, not watched: renewal tools replace links and
 * whole folders. A change counts on the second look, since certificate and key are two files and one is written first.
 *
 * @param options.host the console's host name
 * @param options.pollMs milliseconds between two looks
 * @throws SallyportError `SP_CONSOLE_CERT_*`, `SP_CONSOLE_KEY_*`: there is no old one to keep
 */
export async function keepCertificate(options: {
  readonly files: CertificateFiles
  readonly host: string
  readonly clock: Clock
  readonly pollMs: number
  readonly onError: (error: unknown) => void
}): Promise<CertificateKeeper> {
  const { files, host, clock, onError } = options
  const check = (bytes: CertificateBytes): CertificateFacts =>
    checkCertificate(bytes, files, host, clock.now())

  let served = await readCertificateFiles(files)
  let facts = check(served)
  let problem: CertificateState['problem']
  let lookedAt = served.digest
  let alarmed = ''
  let saidSoonAt = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  const refuse = (error: unknown, digest: string): void => {
    problem = { code: errorCode(error), text: sentence(error) }
    const alarm = `${digest} ${problem.code}`
    if (alarmed === alarm) return
    alarmed = alarm
    onError(
      new SallyportError(
        'SP_CONSOLE_CERT_KEPT',
        'the certificate files of the console changed and cannot be used: the old certificate stays',
        {
          detail: `${problem.text} [${problem.code}]`,
          fix: `put a good certificate there before ${new Date(facts.notAfter).toISOString()}`,
          cause: error,
        },
      ),
    )
  }

  const look = async (onReplaced: (bytes: CertificateBytes) => void): Promise<void> => {
    let bytes: CertificateBytes | undefined
    let failure: unknown
    try {
      bytes = await readCertificateFiles(files)
    } catch (error) {
      failure = error
    }
    if (stopped) return
    const digest = bytes?.digest ?? `unreadable ${errorCode(failure)}`
    if (digest === served.digest) {
      problem = undefined
      alarmed = ''
    } else if (digest === lookedAt) {
      try {
        if (!bytes) throw failure
        facts = check(bytes)
        served = bytes
        problem = undefined
        alarmed = ''
        saidSoonAt = Number.NEGATIVE_INFINITY
        onReplaced(bytes)
      } catch (error) {
        refuse(error, digest)
      }
    }
    lookedAt = digest
    remind()
  }

  /** Says once a day that it ends soon: a certificate that lives for days is renewed in its last third. */
  const remind = (): void => {
    const now = clock.now()
    const soon = Math.min(SOON_MS, (facts.notAfter - facts.notBefore) / 3)
    if (facts.notAfter - now > soon || now - saidSoonAt < DAY_MS) return
    saidSoonAt = now
    const end = new Date(facts.notAfter).toISOString()
    onError(
      new SallyportError(
        'SP_CONSOLE_CERT_ENDS',
        facts.notAfter <= now
          ? 'the certificate of the console has expired: nobody can sign in'
          : 'the certificate of the console expires soon',
        {
          detail: `valid to ${end}`,
          fix: `renew it and put the new one in the same files; no restart is needed`,
        },
      ),
    )
  }

  return {
    current: () => served,
    state: () => ({ ...facts, ...(problem === undefined ? {} : { problem }) }),
    watch(onReplaced) {
      const again = (): void => {
        if (stopped) return
        timer = setTimeout(() => {
          look(onReplaced).catch(onError).finally(again)
        }, options.pollMs)
        timer.unref()
      }
      remind()
      again()
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}

function sentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const detail = error instanceof SallyportError ? error.detail : undefined
  return detail === undefined ? error.message : `${error.message}: ${detail}`
}

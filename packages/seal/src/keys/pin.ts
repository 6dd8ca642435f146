import { readFileSync, statSync } from 'node:fs'
import { SallyportError } from '@sallyport/base'

/**
 * Where the PIN of a token comes from: a file that only its owner reads, or else the environment. Read at each login, and never from a command
 * line, which every user of the machine can see.
 *
 * @throws SallyportError `SP_HSM_PIN_SOURCE` when it is called
 */
export function pinSource(options: {
  readonly file?: string
  readonly env?: string
}): () => string {
  const { file, env } = options
  return () => {
    if (file === undefined) {
      if (env) return env
      throw unusable('no PIN was given', undefined)
    }
    try {
      const { mode } = statSync(file)
      if ((mode & 0o077) !== 0) throw new Error(`its mode is ${(mode & 0o777).toString(8)}`)
      const pin = readFileSync(file, 'utf8').replace(/\r?\n$/, '')
      if (pin === '') throw new Error('it is empty')
      return pin
    } catch (cause) {
      throw unusable(cause instanceof Error ? cause.message : String(cause), cause)
    }
  }
}

function unusable(detail: string, cause: unknown): SallyportError {
  return new SallyportError('SP_HSM_PIN_SOURCE', 'the PIN of the token cannot be read', {
    detail,
    fix: 'put it alone into a file of mode 600 and name that with --pkcs11-pin-file, or set SALLYPORT_PKCS11_PIN',
    cause,
  })
}

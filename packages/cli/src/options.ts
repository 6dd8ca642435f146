import { resolve } from 'node:path'
import { Option } from 'commander'
import { SallyportError } from '@sallyport/base'

/** The data directory, as every command names it. */
export const dataOption = (): Option =>
  new Option('--data <dir>', 'data directory').env('SALLYPORT_DATA_DIR').default('.sallyport')

export const jsonOption = (): Option => new Option('--json', 'one JSON document on stdout')

export interface CommonOptions {
  readonly data: string
  readonly json?: boolean
}

export const dataDir = (options: { readonly data: string }): string => resolve(options.data)

/**
 * How long, in milliseconds: a whole number with `ms`, `s` or `m`; seconds where nothing stands behind it.
 *
 * @throws SallyportError `SP_USAGE_OPTION`
 */
export function duration(option: string, text: string): number {
  const match = /^(\d{1,9})(ms|s|m)?$/.exec(text)
  if (!match) {
    throw new SallyportError('SP_USAGE_OPTION', `${option} is not a duration`, {
      fix: `write a whole number with \`ms\`, \`s\` or \`m\`, e.g. \`${option} 10s\``,
    })
  }
  const unit = match[2] === 'ms' ? 1 : match[2] === 'm' ? 60_000 : 1000
  return Number(match[1]) * unit
}

/** @throws SallyportError `SP_USAGE_OPTION` */
export function wholeNumber(option: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new SallyportError('SP_USAGE_OPTION', `${option} is not a whole number`, {
    fix: `write it in digits, e.g. \`${option} 5\``,
  })
}

/** PIN of the token, out of the environment, so that no child process inherits it. */
export function takePin(): string | undefined {
  const pin = process.env.SALLYPORT_PKCS11_PIN
  delete process.env.SALLYPORT_PKCS11_PIN
  return pin === '' ? undefined : pin
}

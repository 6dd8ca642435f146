import { SallyportError } from '@sallyport/base'

function missing(name: string): SallyportError<'SP_MERIDIAN_ENV'> {
  return new SallyportError(
    'SP_MERIDIAN_ENV',
    `the environment variable \`${name}\` is missing or malformed`,
    {
      fix: 'Start Meridian with `sallyport demo`, which sets it, or set it by hand.',
    },
  )
}

/** A variable that must be there. @throws SallyportError `SP_MERIDIAN_ENV` */
export function required(name: string): string {
  const value = process.env[name]
  if (value === undefined || value === '') throw missing(name)
  return value
}

/** A whole number ≥ 0, or the default where the variable is absent. @throws SallyportError `SP_MERIDIAN_ENV` */
export function count(name: string, absent: number): number {
  const value = process.env[name]
  if (value === undefined || value === '') return absent
  if (!/^\d{1,9}$/.test(value)) throw missing(name)
  return Number(value)
}

/** Where to connect: a Unix socket that the launcher relays, or an address. */
export type Target = { readonly path: string } | { readonly host: string; readonly port: number }

/** Reads `unix:PATH` or `HOST:PORT`. @throws SallyportError `SP_MERIDIAN_ENV` */
export function target(name: string): Target {
  return parseTarget(required(name)) ?? fail(name)
}

/** `unix:PATH` or `HOST:PORT` (IPv6 in brackets). */
export function parseTarget(value: string): Target | undefined {
  if (value.startsWith('unix:')) return { path: value.slice(5) }
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(value)
  return match ? { host: match[1] ?? '', port: Number(match[2]) } : undefined
}

function fail(name: string): never {
  throw missing(name)
}

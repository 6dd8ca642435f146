import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { parseJson, SallyportError } from '@sallyport/base'
import { target } from './address.ts'
import { members, textOf } from './shape.ts'

/** Where the built console lies, or undefined where it was not built (`npm run build -w @sallyport/console`). */
export function consoleDir(): string | undefined {
  const dir = new URL('../../console/dist/', import.meta.url).pathname
  return existsSync(`${dir}index.html`) ? dir : undefined
}

export interface ConsoleFlags {
  readonly consolePort?: string
  readonly consoleListen?: string
  readonly consoleCert?: string
  readonly consoleKey?: string
}

/** The options of `control` and `up` that say where the console answers. */
export const consoleFlags = (command: Command): Command =>
  command
    .option('--console-port <port>', 'console and operator API on localhost; as `init` fixed it')
    .option(
      '--console-listen <address>',
      'where the console listens behind its https origin, e.g. `0.0.0.0:443` (default: loopback)',
    )
    .option(
      '--console-cert <file>',
      'its certificate and chain, PEM; read again when it changes; needed for an https origin',
    )
    .option('--console-key <file>', 'the private key of that certificate, PEM, closed to others')

/** The same options, for `control` as a process of its own. */
export const consoleArgs = (flags: ConsoleFlags): string[] => [
  ...(flags.consolePort === undefined ? [] : ['--console-port', flags.consolePort]),
  ...(flags.consoleListen === undefined ? [] : ['--console-listen', flags.consoleListen]),
  ...(flags.consoleCert === undefined ? [] : ['--console-cert', resolve(flags.consoleCert)]),
  ...(flags.consoleKey === undefined ? [] : ['--console-key', resolve(flags.consoleKey)]),
]

/** The origin that `init` fixed; undefined without a trust root. */
export function fixedOrigin(data: string): URL | undefined {
  const file = join(data, 'trust', 'relying-party.json')
  if (!existsSync(file)) return undefined
  return new URL(textOf(members(parseJson(readFileSync(file, 'utf8'))).origin))
}

/**
 * Where the console shall answer. Passkeys are bound to the origin that `init` fixed, so it cannot move afterwards.
 *
 * @throws SallyportError `SP_CONFIG_CONSOLE_PORT`, `SP_USAGE_ADDRESS`
 */
export function consoleSite(
  data: string,
  flags: ConsoleFlags,
): {
  port: number
  listen?: { host: string; port: number }
  certFile?: string
  keyFile?: string
} {
  return {
    port: consolePort(data, flags.consolePort),
    ...(flags.consoleListen === undefined ? {} : { listen: target(flags.consoleListen) }),
    ...(flags.consoleCert === undefined ? {} : { certFile: resolve(flags.consoleCert) }),
    ...(flags.consoleKey === undefined ? {} : { keyFile: resolve(flags.consoleKey) }),
  }
}

function consolePort(data: string, asked: string | undefined): number {
  const origin = fixedOrigin(data)
  // Without a trust root the control plane itself says what is missing.
  if (!origin) return Number(asked ?? 7400)
  const secure = origin.protocol === 'https:'
  const fixed = Number(origin.port || (secure ? 443 : 80))
  if (asked === undefined || Number(asked) === fixed) return fixed
  throw new SallyportError(
    'SP_CONFIG_CONSOLE_PORT',
    `the console cannot move to port \`${asked}\``,
    {
      detail: `\`init\` fixed ${origin.origin}, and passkeys are bound to it`,
      fix: secure
        ? 'leave --console-port out; --console-listen says where it listens behind that address'
        : `leave --console-port out, or make a new trust root with \`sallyport init --console-port ${asked}\``,
    },
  )
}

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { generate } from './generator.ts'
import type { PlantedRing } from './generator.ts'

export interface DemoOptions {
  /** Where the demo keeps its files: the trust root, the admin socket, the watchlist's CA. */
  readonly dataDir: string
  readonly attack: 'poisoned-memo' | 'none'
  /** Seconds from the first read of payments to the poisoned memo (default 25). */
  readonly attackAfterSeconds?: number
  /** Seconds the attack goes on, cut off or not (default 15). */
  readonly attackSeconds?: number
  /** Seconds over which the generated stream is released (default 20). */
  readonly streamSeconds?: number
  /** A file with AMLSim's columns instead of the generator. */
  readonly transactionsFile?: string
  readonly seed?: number
}

/** A process to start. The runner adds the `SALLYPORT_…` variables. */
export interface DemoProcess {
  readonly kind: 'external' | 'service' | 'agent'
  /** The declared name, which is also what its join token is for. `watchlist` enrols nowhere. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** For external and service: the loopback port it listens on. */
  readonly port?: number
}

export interface DemoPlan {
  /** The folder with `network.yaml`. */
  readonly declarationDir: string
  /** Start in this order; each kind waits for the one before to say `listening` or `started`. */
  readonly processes: readonly DemoProcess[]
  /** Secrets for the gateway. */
  readonly secrets: Readonly<Record<string, string>>
  readonly watchlist: {
    readonly port: number
    readonly serverName: string
    /** Written by the watchlist's process when it starts. */
    readonly caFile: string
  }
  /** The truth that the report scores against; empty for a file. */
  readonly rings: readonly PlantedRing[]
  readonly transactions: 'generated' | 'file'
}

const SERVICES: readonly (readonly [string, number])[] = [
  ['core-banking', 7101],
  ['pii-vault', 7102],
  ['case-store', 7103],
  ['messages', 7104],
]
const WATCHLIST_PORT = 7105

/** Readers first, so that rings are waited for by those who act on them. */
const AGENTS: readonly string[] = [
  'case-manager',
  'account-flagger',
  'sanctions-screener',
  'sar-drafter',
  'sar-filer',
  'notifier',
  'monitor',
  'pattern-analyst',
]

const DEFAULT_SEED = 7
const ACCOUNTS = 300
const DAYS = 90

/** The processes of a run of Meridian Bank, in the order to start them, with the truth to score it against. */
export function planDemo(options: DemoOptions): DemoPlan {
  const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
  const seed = options.seed ?? DEFAULT_SEED
  const csv = options.transactionsFile
  const key = randomBytes(24).toString('base64url')
  const caFile = join(options.dataDir, 'watchlist-ca.pem')
  const node = (file: string, ...args: string[]): Pick<DemoProcess, 'command' | 'args'> => ({
    command: process.execPath,
    args: [here(file), ...args],
  })
  const processes: DemoProcess[] = [
    {
      kind: 'external',
      name: 'watchlist',
      ...node('services/watchlistServer.ts'),
      env: {
        MERIDIAN_PORT: String(WATCHLIST_PORT),
        MERIDIAN_WATCHLIST_KEY: key,
        MERIDIAN_WATCHLIST_CA: caFile,
      },
      port: WATCHLIST_PORT,
    },
  ]
  for (const [name, port] of SERVICES) {
    const env: Record<string, string> = { MERIDIAN_PORT: String(port) }
    if (name === 'core-banking') {
      env['MERIDIAN_SEED'] = String(seed)
      env['MERIDIAN_ACCOUNTS'] = String(ACCOUNTS)
      env['MERIDIAN_DAYS'] = String(DAYS)
      env['MERIDIAN_STREAM_SECONDS'] = String(options.streamSeconds ?? 20)
      env['MERIDIAN_ATTACK'] = options.attack
      env['MERIDIAN_ATTACK_AFTER'] = String(options.attackAfterSeconds ?? 25)
      if (csv !== undefined) env['MERIDIAN_TRANSACTIONS'] = csv
    }
    processes.push({ kind: 'service', name, ...node('services/main.ts', name), env, port })
  }
  const places = SERVICES.map(([name, port]) => `${name}=127.0.0.1:${port}`).join(',')
  for (const name of AGENTS) {
    const env: Record<string, string> =
      name === 'pattern-analyst'
        ? {
            MERIDIAN_SERVICES: places,
            MERIDIAN_DATA_DIR: options.dataDir,
            MERIDIAN_ATTACK_SECONDS: String(options.attackSeconds ?? 15),
            ...(csv === undefined ? {} : { MERIDIAN_PROFILE: 'amlsim' }),
          }
        : {}
    processes.push({ kind: 'agent', name, ...node(`agents/${name}.ts`), env })
  }
  return {
    declarationDir: here('..'),
    processes,
    secrets: { 'watchlist-api-key': key },
    watchlist: { port: WATCHLIST_PORT, serverName: 'watchlist.example', caFile },
    rings: csv === undefined ? generate({ seed, accounts: ACCOUNTS, days: DAYS }).rings : [],
    transactions: csv === undefined ? 'generated' : 'file',
  }
}

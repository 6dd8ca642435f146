import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { parseJson, SallyportError } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { createRoot } from '@sallyport/spiffe'
import { declarationDigest } from '@sallyport/wire'
import type { TrustPins } from '@sallyport/wire'
import { consoleOrigin } from './site/origin.ts'
import type { RelyingParty } from './site/origin.ts'

export interface Trust {
  readonly pins: TrustPins
  readonly relyingParty: RelyingParty
  readonly rootsPem: string
  readonly caKey: KeyObject
  readonly bundleKey: KeyObject
  /** Until the first operator set is signed; then it is gone. */
  genesisKey(): KeyObject | undefined
  forgetGenesisKey(): void
}

/** Ten years: what gateways pin must outlive them. */
const ROOT_SECONDS = 10 * 365 * 86_400

/**
 * Makes the trust root of a network, in `dataDir/trust`. The only maker of one: everything else refuses to run without.
 *
 * @param input.rpId the WebAuthn relying party id, e.g. `localhost`
 * @param input.origin where the console will answer, e.g. `http://localhost:7400` or `https://console.bank.example`
 * @throws SallyportError `SP_TRUST_EXISTS`: a trust root is never overwritten; `SP_CONFIG_CONSOLE_ORIGIN`
 */
export async function initTrust(input: {
  readonly dataDir: string
  readonly declaration: Declaration
  readonly rpId: string
  readonly origin: string
}): Promise<{ trustDomain: string; digest: string; quorum: number }> {
  const { network } = input.declaration
  const { origin } = consoleOrigin(input.origin)
  const folder = join(input.dataDir, 'trust')
  if (existsSync(folder)) throw exists(folder)
  mkdirSync(input.dataDir, { recursive: true, mode: 0o700 })
  const partial = mkdtempSync(join(input.dataDir, 'trust.partial-'))
  try {
    const root = createRoot({ trustDomain: network.trustDomain, ttlSeconds: ROOT_SECONDS })
    const bundle = generateKeyPairSync('ed25519')
    const genesis = generateKeyPairSync('ed25519')
    const pins: TrustPins = {
      trustDomain: network.trustDomain,
      bundleKey: spki(bundle.publicKey),
      genesisKey: spki(genesis.publicKey),
      genesisDigest: declarationDigest(input.declaration),
      roots: root.certificatePem,
    }
    const relyingParty: RelyingParty = { rpId: input.rpId, origin }
    chmodSync(partial, 0o700)
    const write = (name: string, text: string): void =>
      writeFileSync(join(partial, name), text, { mode: 0o600, flag: 'wx', flush: true })
    write('ca.key', root.privateKeyPem)
    write('ca.pem', root.certificatePem)
    write('bundle.key', pkcs8(bundle.privateKey))
    write('genesis.key', pkcs8(genesis.privateKey))
    write('pins.json', `${JSON.stringify(pins, null, 2)}\n`)
    write('relying-party.json', `${JSON.stringify(relyingParty, null, 2)}\n`)
    try {
      // A folder that is there and not empty stays: of two that run at once, one wins.
      renameSync(partial, folder)
    } catch (cause) {
      if (existsSync(folder)) throw exists(folder, cause)
      throw cause
    }
    syncFolder(input.dataDir)
    return { trustDomain: pins.trustDomain, digest: pins.genesisDigest, quorum: network.quorum }
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}

/**
 * Reads the trust root back, and never makes one.
 *
 * @throws SallyportError `SP_TRUST_MISSING`, `SP_TRUST_PERMISSIONS`, `SP_TRUST_DAMAGED`
 */
export function openTrust(dataDir: string): Trust {
  const folder = join(dataDir, 'trust')
  if (!existsSync(join(folder, 'pins.json'))) {
    throw new SallyportError('SP_TRUST_MISSING', 'there is no trust root in the data directory', {
      detail: folder,
      fix: 'make one with `sallyport init`, or name the right data directory with --data',
    })
  }
  const read = (name: string): string => readSecret(folder, name)
  const pins = readPins(read('pins.json'))
  const relyingParty = members(read('relying-party.json'), ['rpId', 'origin'])
  const genesisFile = join(folder, 'genesis.key')
  const rootsPem = read('ca.pem')
  const caKey = privateKey(read('ca.key'))
  const bundleKey = privateKey(read('bundle.key'))
  if (spki(createPublicKey(bundleKey)) !== pins.bundleKey || rootsPem !== pins.roots) {
    throw damaged('the keys are not the ones that pins.json names')
  }
  return {
    pins,
    relyingParty: { rpId: relyingParty['rpId'] ?? '', origin: relyingParty['origin'] ?? '' },
    rootsPem,
    caKey,
    bundleKey,
    genesisKey: () => (existsSync(genesisFile) ? privateKey(read('genesis.key')) : undefined),
    forgetGenesisKey() {
      rmSync(genesisFile, { force: true })
      syncFolder(folder)
    },
  }
}

const PIN_NAMES = ['trustDomain', 'bundleKey', 'genesisKey', 'genesisDigest', 'roots'] as const

function readPins(text: string): TrustPins {
  const pins = members(text, PIN_NAMES)
  return {
    trustDomain: pins['trustDomain'] ?? '',
    bundleKey: pins['bundleKey'] ?? '',
    genesisKey: pins['genesisKey'] ?? '',
    genesisDigest: pins['genesisDigest'] ?? '',
    roots: pins['roots'] ?? '',
  }
}

function members(text: string, names: readonly string[]): Readonly<Record<string, string>> {
  const value = parseJson(text)
  const found: Record<string, string> = {}
  if (typeof value !== 'object' || value === null) throw damaged('a file is not an object')
  for (const [name, member] of Object.entries(value)) {
    if (typeof member === 'string') found[name] = member
  }
  for (const name of names) if (!found[name]) throw damaged(`\`${name}\` is missing`)
  return found
}

function readSecret(folder: string, name: string): string {
  const file = join(folder, name)
  let mode: number
  try {
    mode = statSync(file).mode
  } catch (cause) {
    throw damaged(`${name} is missing`, cause)
  }
  if (name.endsWith('.key') && (mode & 0o077) !== 0) {
    throw new SallyportError('SP_TRUST_PERMISSIONS', `others can read \`${name}\``, {
      detail: `mode ${(mode & 0o777).toString(8)}`,
      fix: `find out who did, then \`chmod 600\` it`,
    })
  }
  return readFileSync(file, 'utf8')
}

function privateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw damaged('a key cannot be read', cause)
  }
}

function spki(key: KeyObject): string {
  return key.export({ format: 'der', type: 'spki' }).toString('base64url')
}

function pkcs8(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString()
}

/** Makes names in a folder durable. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function exists(folder: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_TRUST_EXISTS', 'there is a trust root already', {
    detail: folder,
    fix: 'use another data directory; a trust root is never overwritten, since every identity hangs on it',
    cause,
  })
}

function damaged(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_TRUST_DAMAGED', 'the trust root is damaged', {
    detail,
    fix: 'restore the folder `trust` from a backup',
    cause,
  })
}

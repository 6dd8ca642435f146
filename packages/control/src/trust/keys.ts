import { join } from 'node:path'
import { createBarrier, fileStorage, makeFileUnsealer, openTokenKeys } from '@sallyport/seal'
import { pinSource, sealedKeys, softwareKeys } from '@sallyport/seal'
import type { Barrier, KeyInfo, KeyProvider, Signer, TokenKeys } from '@sallyport/seal'
import type { KeyKind, KeySettings, TokenSettings } from './settings.ts'

/** How `init` is to make the keys. */
export interface KeyChoice {
  readonly kind: KeyKind
  /** `sealed` has them always (5 and 3 by default); `pkcs11` may have them, to unseal secrets without the token. */
  readonly shares?: { readonly count: number; readonly threshold: number }
  /** Keeps the keys (`pkcs11`), or unseals them without people (`sealed`). */
  readonly token?: Omit<TokenSettings, 'prefix'>
  /** PIN of the token, from the environment. */
  readonly pin?: string
}

export interface MadeKeys {
  readonly settings: KeySettings
  readonly ca: Signer
  readonly bundle: Signer
  /** For people; nobody sees them again. */
  readonly shares: readonly string[]
  /** Destroys what was made in a token. */
  undo(): Promise<void>
  close(): Promise<void>
}

/** Names of files in the folder `trust`. */
export const BARRIER_FILE = 'barrier'
export const UNSEAL_FILE = 'unseal.secret'
/** Name of the key in the token that unseals. */
export const UNSEAL_KEY = 'unseal'
const SHARES = { count: 5, threshold: 3 }

/**
 * Makes the keys of a network, each for one use, and the barrier that its secrets are encrypted under.
 *
 * @throws SallyportError `SP_SEAL_SHARES`, `SP_HSM_*`, `SP_KEY_EXISTS`
 */
export async function makeKeys(
  dir: string,
  trustDomain: string,
  choice: KeyChoice,
  madeAt: number,
): Promise<MadeKeys> {
  const { kind } = choice
  const token = choice.token && { ...choice.token, prefix: `sallyport/${trustDomain}/` }
  const tokens = token && (await openTokens(token, choice.pin))
  const close = async (): Promise<void> => tokens?.close()
  const undo = async (): Promise<void> => tokens?.discard()
  try {
    const unsealer = tokens
      ? await tokens.generateUnsealer(UNSEAL_KEY)
      : kind === 'software'
        ? await makeFileUnsealer(join(dir, UNSEAL_FILE))
        : undefined
    const people = choice.shares ?? (kind === 'sealed' ? SHARES : undefined)
    const { barrier, shares } = await createBarrier({
      storage: fileStorage(join(dir, BARRIER_FILE)),
      ...(unsealer ? { unsealer } : {}),
      ...(people ? { shares: people } : {}),
    })
    const settings: KeySettings = { kind, madeAt, ...(token ? { token } : {}) }
    const provider = providerOf(dir, settings, barrier, tokens)
    const ca = await provider.generate('ca', 'p256')
    const bundle = await provider.generate('bundle', 'ed25519')
    await provider.generate('log', 'ed25519')
    return { settings, ca, bundle, shares, undo, close }
  } catch (error) {
    await undo()
    await close()
    throw error
  }
}

/** Keys of the same kind as the network's, in another folder. */
export interface ProvidedKeys {
  readonly provider: KeyProvider
  /** One token for all: names have to tell whose key it is. */
  readonly shared: boolean
}

/** The signing keys of a network. Separate keys for separate uses: one that leaks or fails does not take the others along. */
export interface NetworkKeys {
  /** Signs bundles. */
  readonly bundle: Signer
  /** Signs the checkpoints of the control plane's own log. */
  readonly log: Signer
  /** Makes, opens and destroys keys of roots, `ca` the first of them, beside those above. */
  readonly roots: KeyProvider
  /** Keys in a folder, or in the token where that has the network's. */
  readonly provider: (folder: string) => ProvidedKeys
  /** For the register. */
  readonly list: () => Promise<readonly KeyInfo[]>
}

/** @throws SallyportError `SP_KEY_*`, `SP_HSM_*`, `SP_SEAL_*` */
export async function openKeys(
  dir: string,
  settings: KeySettings,
  barrier: Barrier,
  tokens: TokenKeys | undefined,
): Promise<NetworkKeys> {
  const provider = providerOf(dir, settings, barrier, tokens)
  const [bundle, log] = [await provider.signer('bundle'), await provider.signer('log')]
  const others = settings.kind === 'pkcs11' ? undefined : tokens
  return {
    ...{ bundle, log, roots: provider },
    provider: (folder) =>
      settings.kind === 'pkcs11'
        ? { provider, shared: true }
        : { provider: providerOf(folder, settings, barrier, undefined), shared: false },
    async list() {
      const keys = [...(await provider.keys()), ...((await others?.keys()) ?? [])]
      return keys.map((key) => ({ ...key, createdAt: key.createdAt ?? settings.madeAt }))
    },
  }
}

/** @param pin from the environment, where no file has it */
export function openTokens(settings: TokenSettings, pin: string | undefined): Promise<TokenKeys> {
  const { pinFile, ...rest } = settings
  const source = pinSource({
    ...(pinFile === undefined ? {} : { file: pinFile }),
    ...(pin === undefined ? {} : { env: pin }),
  })
  return openTokenKeys({ ...rest, pin: source })
}

function providerOf(
  dir: string,
  { kind }: KeySettings,
  barrier: Barrier,
  tokens: TokenKeys | undefined,
): KeyProvider {
  if (kind === 'pkcs11' && tokens) return tokens
  return kind === 'sealed' ? sealedKeys({ dir, barrier }) : softwareKeys({ dir })
}

import type { Network } from '@sallyport/network'
import { SallyportError } from '@sallyport/base'
import { isCredential, mayRead, nameOf, purposeOf, readersOf, refused } from './access.ts'
import type { Reader } from './access.ts'
import type { Recorder } from './custody.ts'
import { checkPath } from './kv.ts'
import type { SecretStore, SecretValue, SecretVersion, SecretView } from './kv.ts'

/** How long a gateway may keep a credential without asking again. A rotation waits twice as long before it revokes. */
export const CREDENTIAL_SECONDS = 5

/** A secret as whoever manages it sees it: without its value. */
interface ManagedSecret extends SecretView {
  readonly owner: string
  readonly use: string
  /** How many are declared to read it, apart from the control plane and gateways. */
  readonly readers: number
}

/** Secrets for those whom the declaration names, each reading recorded before it is answered. Never a value in a record. */
export class Vault {
  readonly #secrets: SecretStore
  readonly #network: () => Network
  readonly #record: Recorder

  constructor(deps: {
    readonly secrets: SecretStore
    readonly network: () => Network
    readonly record: Recorder
  }) {
    this.#secrets = deps.secrets
    this.#network = deps.network
    this.#record = deps.record
  }

  /** @throws SallyportError `SP_SECRET_REFUSED`, `SP_SECRET_PATH`, `SP_SECRET_UNKNOWN` */
  async read(reader: Reader, path: string, version?: number): Promise<SecretValue> {
    checkPath(path)
    if (!mayRead(this.#network(), path, reader)) {
      await this.#record('secret-refused', nameOf(reader), { path })
      throw refused()
    }
    const found = await this.#secrets.get(path, version)
    await this.#record('secret-read', nameOf(reader), { path, version: found.version })
    return found
  }

  /**
   * The credential of an upstream, for a gateway.
   *
   * @throws SallyportError `SP_SECRET_REFUSED` where no system of the declaration in force is called with it
   */
  async credential(gateway: string, name: string): Promise<SecretValue> {
    checkPath(name)
    if (!isCredential(this.#network(), name)) {
      await this.#record('secret-refused', gateway, { path: name })
      throw refused()
    }
    return this.#secrets.get(name)
  }

  /** Paths that the reader may read, and no others. */
  async list(reader: Reader, prefix = ''): Promise<readonly SecretView[]> {
    const network = this.#network()
    const all = await this.#secrets.list(prefix)
    return all.filter(({ path }) => mayRead(network, path, reader))
  }

  /** All that are declared, with owner and use, for whoever manages them. */
  async all(prefix = ''): Promise<readonly ManagedSecret[]> {
    const network = this.#network()
    return (await this.#secrets.list(prefix)).flatMap((view) => {
      const purpose = purposeOf(network, view.path)
      if (!purpose) return []
      const { owner, use } = purpose
      return [{ ...view, owner, use, readers: readersOf(network, view.path) }]
    })
  }

  async versions(path: string): Promise<readonly SecretVersion[]> {
    this.#purpose(path)
    return this.#secrets.versions(path)
  }

  /**
   * @param options.cas the current version that the writer has seen
   * @param options.keyId what its provider calls the key, so that a rotation can end it
   * @throws SallyportError `SP_SECRET_UNDECLARED`, `SP_SECRET_CONFLICT`, `SP_SECRET_VALUE`
   */
  async write(
    by: string,
    path: string,
    value: Buffer,
    options: { readonly cas?: number; readonly keyId?: string } = {},
  ): Promise<number> {
    const { maxVersions } = this.#purpose(path)
    await this.#record('secret-written', by, { path })
    return this.#secrets.put({ path, value, by, keep: maxVersions, ...options })
  }

  /** @throws SallyportError `SP_SECRET_UNDECLARED`, `SP_SECRET_UNKNOWN` */
  async mark(
    by: string,
    path: string,
    versions: readonly number[],
    what: 'delete' | 'undelete' | 'destroy',
  ): Promise<void> {
    this.#purpose(path)
    await this.#record(`secret-${what}`, by, { path, versions: versions.join(' ') })
    await this.#secrets.mark(path, versions, what)
  }

  #purpose(path: string): { readonly maxVersions: number } {
    const purpose = purposeOf(this.#network(), checkPath(path))
    if (purpose) return purpose
    throw new SallyportError('SP_SECRET_UNDECLARED', 'nothing is declared for this path', {
      fix: 'declare it under `secrets` in network.yaml, with its owner and use',
    })
  }
}

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { forge } from '../../../spiffe/test/forge.ts'
import type { Forged, Recipe } from '../../../spiffe/test/forge.ts'

export const HOST = 'console.bank.example'
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const DAY_MS = 86_400_000

/** A bank's own web CA: a root that browsers would trust, one CA below it, and certificates for servers. */
export class WebCa {
  readonly root: Forged
  readonly issuer: Forged

  constructor() {
    this.root = forge({ name: 'Bank Web Root', ca: true, uris: [] })
    this.issuer = forge({ name: 'Bank Web CA', ca: true, uris: [], signer: this.root })
  }

  /** Good for `HOST` unless the recipe spoils it. */
  leaf(recipe: Recipe = {}): Forged {
    return forge({
      name: HOST,
      uris: [],
      dns: [HOST],
      sanCritical: false,
      extended: [SERVER_AUTH],
      notAfter: Date.now() + 90 * DAY_MS,
      signer: this.issuer,
      ...recipe,
    })
  }
}

/** A certificate and a key in two files, which can be replaced. */
export class Files {
  readonly dir: string
  readonly certFile: string
  readonly keyFile: string

  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'sp-cert-'))
    this.certFile = join(this.dir, 'fullchain.pem')
    this.keyFile = join(this.dir, 'privkey.pem')
  }

  get paths(): { certFile: string; keyFile: string } {
    return { certFile: this.certFile, keyFile: this.keyFile }
  }

  put(leaf: Forged, ...above: readonly Forged[]): void {
    this.putRaw([leaf, ...above].map(({ pem }) => pem).join(''), leaf.keyPem)
  }

  putRaw(cert: string, key: string): void {
    writeFileSync(this.certFile, cert)
    writeFileSync(this.keyFile, key, { mode: 0o600 })
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true })
  }
}

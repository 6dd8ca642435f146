import type { Artefacts, KeptArtefact } from '../src/artefacts.ts'

type Row = KeptArtefact & { consumed: number | null }

/** In memory, as strict as the table: one row a hash, used once. */
export class Rows implements Artefacts {
  readonly rows: Map<string, Row> = new Map()

  put(artefact: KeptArtefact, replace: boolean): Promise<boolean> {
    if (!replace && this.rows.has(artefact.hash)) return Promise.resolve(false)
    this.rows.set(artefact.hash, { ...artefact, consumed: null })
    return Promise.resolve(true)
  }

  find(by: { readonly hash: string } | { readonly alias: string }): Promise<Row | undefined> {
    const found =
      'hash' in by
        ? this.rows.get(by.hash)
        : [...this.rows.values()].find(({ alias }) => alias === by.alias)
    return Promise.resolve(found)
  }

  consume(hash: string, at: number): Promise<boolean> {
    const row = this.rows.get(hash)
    if (!row || row.consumed !== null) return Promise.resolve(false)
    row.consumed = at
    return Promise.resolve(true)
  }

  remove(hash: string): Promise<void> {
    this.rows.delete(hash)
    return Promise.resolve()
  }

  removeGrant(grant: string): Promise<void> {
    for (const [hash, row] of this.rows) if (row.grant === grant) this.rows.delete(hash)
    return Promise.resolve()
  }
}

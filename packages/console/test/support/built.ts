import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'vite'
import { Fixture } from './api.ts'
import type { FixtureOptions } from './api.ts'

export interface Built {
  readonly root: string
  readonly remove: () => Promise<void>
}

/** The console as it ships, built into a folder of its own. */
export async function builtConsole(): Promise<Built> {
  const outDir = await mkdtemp(join(tmpdir(), 'sallyport-console-'))
  await build({
    root: join(import.meta.dirname, '../..'),
    logLevel: 'error',
    build: { outDir, emptyOutDir: true },
  })
  return { root: outDir, remove: () => rm(outDir, { recursive: true, force: true }) }
}

/** Runs a test against a fixture of its own that serves the built console. */
export async function withFixture(
  { root }: Built,
  test: (fixture: Fixture) => Promise<void>,
  options: FixtureOptions = {},
): Promise<void> {
  const fixture = new Fixture({ root, ...options })
  await fixture.start()
  try {
    await test(fixture)
  } finally {
    await fixture.stop()
  }
}

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
]
/** Of the machine's package, as the module is. */
const TOOL = 'softhsm2-util'
const found = MODULES.find((path) => existsSync(path))

/** Why tests with SoftHSM are skipped; false where it is there. */
export const noSoftHsm: string | false = found === undefined && 'SoftHSM is not installed'
export const softHsmModule: string = found ?? '/absent'
export const PIN = '1234-abcd'

/** Tokens in a folder of their own. SoftHSM reads the environment when it is initialised: once a process. */
export function softHsm(...labels: readonly string[]): { readonly remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'softhsm-'))
  mkdirSync(join(dir, 'tokens'))
  const conf = join(dir, 'softhsm2.conf')
  writeFileSync(
    conf,
    `directories.tokendir = ${join(dir, 'tokens')}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  )
  process.env['SOFTHSM2_CONF'] = conf
  for (const label of labels) addToken(label)
  return { remove: () => rmSync(dir, { recursive: true, force: true }) }
}

export function addToken(label: string): void {
  const args = ['--init-token', '--free', '--label', label, '--pin', PIN, '--so-pin', '56785678']
  execFileSync(TOOL, args, { stdio: 'pipe' })
}

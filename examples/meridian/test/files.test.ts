import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openAdminSocket, readCaKey } from '../src/attacks/files.ts'

const dir = mkdtempSync(join(tmpdir(), 'meridian-files-'))
for (const name of ['trust', 'run']) mkdirSync(join(dir, name))
const server = createServer((socket) => socket.destroy())
after(() => {
  server.close()
  rmSync(dir, { recursive: true, force: true })
})

test('a hijacked agent says what of the data directory is open to it, and what is not there', async () => {
  process.env['MERIDIAN_DATA_DIR'] = dir
  const gone = { layer: 'files', refused: true, code: 'ENOENT' }
  assert.deepEqual(readCaKey(), [{ attempt: 'read the CA key', ...gone }])
  assert.deepEqual(await openAdminSocket(), [{ attempt: 'open the admin socket', ...gone }])
  writeFileSync(join(dir, 'trust', 'ca.key'), 'key')
  server.listen(join(dir, 'run', 'admin.sock'))
  await once(server, 'listening')
  const open = { layer: 'none', refused: false, code: 'opened' }
  assert.deepEqual(readCaKey(), [{ attempt: 'read the CA key', ...open }])
  assert.deepEqual(await openAdminSocket(), [{ attempt: 'open the admin socket', ...open }])
  writeFileSync(join(dir, 'trust', 'ca.key'), '')
  assert.equal(readCaKey()[0]?.code, 'empty')
})

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { parseMounts, placesOf, readOnly, uncovered } from '../src/launcher/mounts.ts'

/** As the kernel writes it; `/srv` shows a part of the disk again, and the last ones lie over earlier ones. */
const TABLE = parseMounts(
  [
    '20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
    '21 20 0:21 / /proc rw,nosuid,nodev,noexec - proc proc rw',
    '22 20 0:22 / /run rw,nosuid - tmpfs tmpfs rw',
    '23 22 0:23 / /run/user/1000 rw - tmpfs tmpfs rw',
    '24 20 254:0 /home/a\\040b /srv rw,noatime - ext4 /dev/vda rw',
    '25 20 254:0 /home/a\\040b/data/trust /trust ro,nodev,relatime - ext4 /dev/vda rw',
    '26 22 0:26 / /run rw - tmpfs sallyport rw',
    '27 26 0:27 / /run/user/1000/agent ro - ext4 /dev/vdb rw',
    '28 20 0:28 / /mnt/a rw - ext4 /dev/vdc rw',
    '29 20 0:29 / /mnt rw - tmpfs tmpfs rw',
    'no mount',
  ].join('\n'),
)

const at = (id: number): (typeof TABLE)[number] => {
  const mount = TABLE.find((one) => one.id === id)
  assert.ok(mount)
  return mount
}

describe('mounts', () => {
  it('leads past what lies under a later mount', () => {
    assert.deepEqual(
      uncovered(TABLE).map(({ id }) => id),
      // Neither the first /run nor what was mounted in it, nor what /mnt now lies over.
      [20, 21, 24, 25, 26, 27, 29],
    )
  })

  it('finds every place at which a hidden folder, or a part of it, is mounted too', () => {
    assert.deepEqual(placesOf('/home/a b/data', TABLE), ['/home/a b/data', '/srv/data', '/trust'])
    assert.deepEqual(placesOf('/srv/data', TABLE), ['/srv/data', '/home/a b/data', '/trust'])
    assert.deepEqual(placesOf('/home/c', TABLE), ['/home/c'])
    // The same name on another file system is another folder.
    assert.deepEqual(placesOf('/run/data', TABLE), ['/run/data'])
  })

  it('takes writing away and none of what may be locked', () => {
    assert.equal(readOnly(at(20)), 'remount,bind,ro,nodev,relatime')
    assert.equal(readOnly(at(22)), 'remount,bind,ro,nodev,nosuid,strictatime')
    assert.equal(readOnly(at(24)), 'remount,bind,ro,nodev,noatime')
  })
})

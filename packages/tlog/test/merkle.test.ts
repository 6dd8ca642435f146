import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import fc from 'fast-check'
import {
  consistencyProof,
  leafHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from '../src/index.ts'
import { inclusionProof } from '../src/merkle.ts'

const DATA = join(process.env.SALLYPORT_DATA ?? '../shared/data', 'audit/merkle-testdata')
const skip = existsSync(DATA) ? false : `no conformance data at ${DATA}`

interface Vector {
  desc: string
  wantErr: boolean
  root: string
  leafHash: string
  leafIdx: number
  treeSize: number
  size1: number
  size2: number
  root1: string
  root2: string
  proof: string[] | null
}

const bytes = (text: string | null | undefined): Buffer => Buffer.from(text ?? '', 'base64')
const vectors = (kind: string): { file: string; vector: Vector }[] =>
  globSync(join(DATA, kind, '**/*.json')).map((file) => ({
    file,
    // The corpus has this shape; its README names the fields.
    vector: JSON.parse(readFileSync(file, 'utf8')) as Vector,
  }))

test('inclusion proofs agree with the transparency-dev vectors', { skip }, () => {
  const all = vectors('inclusion')
  assert.ok(all.length > 50, `only ${all.length} vectors were read`)
  for (const { file, vector: v } of all) {
    const ok = verifyInclusion(
      bytes(v.leafHash),
      v.leafIdx,
      v.treeSize,
      (v.proof ?? []).map(bytes),
      bytes(v.root),
    )
    assert.equal(ok, !v.wantErr, `${file}: ${v.desc}`)
  }
})

test('consistency proofs agree with the vectors, but for size 0, which we refuse', { skip }, () => {
  const all = vectors('consistency')
  assert.ok(all.length > 50, `only ${all.length} vectors were read`)
  for (const { file, vector: v } of all) {
    const proof = (v.proof ?? []).map(bytes)
    const ok = verifyConsistency(v.size1, v.size2, bytes(v.root1), bytes(v.root2), proof)
    assert.equal(ok, v.size1 === 0 ? false : !v.wantErr, `${file}: ${v.desc}`)
  }
})

test('every proof we make verifies, and no other leaf, index or root does', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 70 }), fc.nat(), fc.nat(), (size, a, b) => {
      const leaves = Array.from({ length: size }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)))
      const root = rootOf(leaves)
      const index = a % size
      const proof = inclusionProof(leaves, index)
      const leaf = leaves[index] ?? Buffer.alloc(32)
      assert.ok(verifyInclusion(leaf, index, size, proof, root))
      assert.ok(!verifyInclusion(leafHash(Buffer.from('other')), index, size, proof, root))
      if (size > 1) assert.ok(!verifyInclusion(leaf, (index + 1) % size, size, proof, root))
      const first = 1 + (b % size)
      const firstRoot = rootOf(leaves, 0, first)
      const consistency = consistencyProof(leaves, first)
      assert.ok(verifyConsistency(first, size, firstRoot, root, consistency))
      assert.ok(!verifyConsistency(first, size, leafHash(firstRoot), root, consistency))
    }),
    { numRuns: 300 },
  )
})

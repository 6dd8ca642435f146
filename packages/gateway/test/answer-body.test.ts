import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AnswerBody } from '../src/upstream/answer-body.ts'

interface Controlled {
  readonly body: AnswerBody
  /** What the connection was told to do. */
  readonly told: string[]
}

function controlled(): Controlled {
  const told: string[] = []
  const body = new AnswerBody({
    abort: ({ message }) => told.push(`abort: ${message}`),
    pause: () => told.push('pause'),
    resume: () => told.push('resume'),
  })
  return { body, told }
}

const text = async (body: AnswerBody): Promise<string> => {
  let all = ''
  for await (const piece of body) all += piece.toString()
  return all
}

test('the body of an answer is its pieces in order, whether they came before they were asked for or after', async () => {
  const { body, told } = controlled()
  body.push(Buffer.from('a'))
  const read = text(body)
  body.push(Buffer.from('b'))
  await Promise.resolve()
  body.push(Buffer.from('c'))
  body.push(Buffer.from('d'))
  body.end()
  assert.equal(await read, 'abcd')
  assert.equal(body.taken, 4)
  assert.equal(body.isWhole, true)
  assert.equal(body.take(), undefined)
  // It is over: giving it up changes nothing, and its connection goes to the next call.
  body.destroy()
  assert.equal(body.take(), undefined)
  assert.deepEqual(told, [])
})

test('an upstream waits while nobody reads, and no longer', () => {
  const { body, told } = controlled()
  body.push(Buffer.alloc(65_535))
  assert.deepEqual(told, [])
  body.push(Buffer.alloc(10))
  assert.deepEqual(told, ['pause'])
  body.take()
  assert.deepEqual(told, ['pause', 'resume'])
  body.take()
  assert.deepEqual(told, ['pause', 'resume'])
  assert.equal(body.isWhole, false)
})

test('an answer that breaks off is never taken for a whole one', async () => {
  const broken = new Error('broken')
  const { body } = controlled()
  body.push(Buffer.from('[1,'))
  body.fail(broken)
  assert.throws(() => body.take(), broken)
  await assert.rejects(body.next(), broken)
  assert.equal(body.isWhole, false)

  const waiting = controlled().body
  const read = text(waiting)
  waiting.push(Buffer.from('[1,'))
  waiting.fail(broken)
  await assert.rejects(read, broken)
})

test('what is given up breaks off the connection where more was to come, and reads as broken', async () => {
  const open = controlled()
  open.body.push(Buffer.from('[1,'))
  open.body.destroy()
  open.body.destroy()
  assert.deepEqual(open.told, ['abort: the answer was given up'])
  await assert.rejects(open.body.next(), /given up/)
  // What still arrives is nobody's.
  open.body.push(Buffer.from('2]'))
  assert.throws(() => open.body.take(), /given up/)

  const complete = controlled()
  complete.body.push(Buffer.from('[1]'))
  complete.body.end()
  complete.body.destroy()
  assert.deepEqual(complete.told, [])
  assert.equal(complete.body.isWhole, false)
  await assert.rejects(complete.body.next(), /given up/)
})

test('a loop that is left early gives the rest up', async () => {
  const { body, told } = controlled()
  body.push(Buffer.from('a'))
  body.push(Buffer.from('b'))
  for await (const piece of body) {
    assert.equal(piece.toString(), 'a')
    break
  }
  assert.deepEqual(told, ['abort: the answer was given up'])
})

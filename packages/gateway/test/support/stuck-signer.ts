/** A signing thread that begins with the first ticket, says so, and is never done with it. */
import { BroadcastChannel, workerData } from 'node:worker_threads'
import type { ThreadData } from '../../src/upstream/signing/ahead.ts'
import { RUNNING, Slots, WAITING } from '../../src/upstream/signing/slots.ts'

// Whoever starts this thread gives it these.
const { memory } = workerData as ThreadData
const slots = new Slots(memory)
slots.awaitHead(0)
slots.pass(0, WAITING, RUNNING)
// eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
new BroadcastChannel('stuck-signer').postMessage('it has begun')
for (;;) slots.awaitHead(slots.head)

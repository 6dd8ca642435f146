/** The thread beside the one that serves calls: signs what stands in the slots, one after the other, and sleeps while there is nothing. */
import type { KeyObject } from 'node:crypto'
import { receiveMessageOnPort, workerData } from 'node:worker_threads'
import { signOctets } from '@sallyport/wire/call-signature'
import type { ThreadData, ThreadKey } from './ahead.ts'
import { FAILED, RUNNING, SIGNED, Slots, WAITING } from './slots.ts'

// Whoever starts this thread gives it these.
const { memory, port } = workerData as ThreadData
const slots = new Slots(memory)
let known: ThreadKey | undefined

/** Keys come in the order in which they are first used, each before the first slot that names it. */
function keyOf(number: number): KeyObject | undefined {
  while (known?.number !== number) {
    const given: { readonly message: ThreadKey } | undefined = receiveMessageOnPort(port)
    if (!given) return undefined
    known = given.message
  }
  return known.key
}

/** @returns the state in which it leaves the slot */
function sign(ticket: number): number {
  try {
    const key = keyOf(slots.keyOf(ticket))
    if (!key) return FAILED
    const signature = signOctets(slots.filled(ticket), key)
    signature.copy(slots.octets(ticket, signature.length))
    return SIGNED
  } catch {
    // Whoever waits for it signs it, and meets the same failure where somebody hears of it.
    return FAILED
  }
}

for (let next = 0; ; next = (next + 1) | 0) {
  while (slots.head === next) slots.awaitHead(next)
  // What is not waiting any more was given up.
  if (slots.pass(next, WAITING, RUNNING)) slots.setState(next, sign(next))
}

/** One service of the bank as a process: `node src/services/main.ts NAME`. Gateways only may call it. */
import { SallyportError, systemClock } from '@sallyport/base'
import { createService } from '@sallyport/agent'
import { POISONED_MEMO } from '../attacks/poisoned-memo.ts'
import { count } from '../env.ts'
import { emitter } from '../events.ts'
import type { Emit } from '../events.ts'
import { joinFabric } from '../fabric.ts'
import { caseStore } from './caseStore.ts'
import { coreBanking } from './coreBanking.ts'
import type { Handler } from './http.ts'
import { messages } from './messages.ts'
import { piiVault } from './piiVault.ts'
import { serveNode } from './serve.ts'
import { openStream } from './stream.ts'

async function openCoreBanking(emit: Emit): Promise<Handler> {
  const csv = process.env['MERIDIAN_TRANSACTIONS']
  const stream = await openStream(
    {
      ...(csv === undefined || csv === '' ? {} : { csv }),
      seed: count('MERIDIAN_SEED', 7),
      accounts: count('MERIDIAN_ACCOUNTS', 300),
      days: count('MERIDIAN_DAYS', 90),
      seconds: count('MERIDIAN_STREAM_SECONDS', 20),
    },
    systemClock,
  )
  emit('stream', { transactions: stream.size })
  if (process.env['MERIDIAN_ATTACK'] === 'poisoned-memo') {
    const inject = (): void => {
      const payment = stream.inject((index, before) => ({
        id: `tx_poisoned_${index}`,
        time: before?.time ?? 0,
        from: 'acc_attacker',
        to: before?.to ?? 'acc_000001',
        amount: 4471,
        currency: 'EUR',
        memo: POISONED_MEMO,
      }))
      emit('memo-injected', { payment: payment.id })
    }
    const after = 1000 * count('MERIDIAN_ATTACK_AFTER', 25)
    void stream.started.then(() => setTimeout(inject, after))
  }
  return coreBanking(stream)
}

const SERVICES: Readonly<Record<string, (emit: Emit) => Handler | Promise<Handler>>> = {
  'core-banking': openCoreBanking,
  'pii-vault': piiVault,
  'case-store': () => caseStore(systemClock),
  messages,
}

const name = process.argv[2] ?? ''
const open = Object.hasOwn(SERVICES, name) ? SERVICES[name] : undefined
if (!open) {
  throw new SallyportError('SP_MERIDIAN_ENV', `Meridian has no service \`${name}\``, {
    fix: `Name one of ${Object.keys(SERVICES).join(', ')}.`,
  })
}
const emit = emitter(name)
const handler = await open(emit)
const identity = await joinFabric(emit)
const service = await createService({
  identity,
  name,
  handler: serveNode(handler),
  listen: { host: '127.0.0.1', port: count('MERIDIAN_PORT', 0) },
})
emit('listening', { ...service.address })
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    identity.stop()
    void service.close().finally(() => process.exit(0))
  })
}

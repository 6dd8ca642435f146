/**
 * An agent. It finds the gateway and the control plane at the two sockets that `sallyport run` gives it:
 *
 *     npx sallyport run --as assistant -- node assistant.ts
 */
import { readFileSync } from 'node:fs'
import { createClient, enrol, RefusedError } from '@sallyport/agent'

const socket = (name: string): { path: string } => ({
  path: (process.env[name] ?? '').replace(/^unix:/, ''),
})

const identity = await enrol({
  planeTarget: socket('SALLYPORT_PLANE'),
  rootsPem: readFileSync(process.env['SALLYPORT_ROOTS'] ?? '', 'utf8'),
  token: process.env['SALLYPORT_JOIN_TOKEN'] ?? '',
  trustDomain: process.env['SALLYPORT_TRUST_DOMAIN'] ?? '',
})
const bank = createClient({ identity, gateway: socket('SALLYPORT_GATEWAY') })

const seen = await bank.request({ method: 'GET', path: '/invoices/v1/invoices/inv-1' })
console.log('read:', JSON.stringify(seen.body))

for (const amount of [12_500, 50_000]) {
  try {
    const paid = await bank.request({
      method: 'POST',
      path: '/invoices/v1/invoices/inv-1/pay',
      body: { amount, currency: 'EUR' },
    })
    console.log('paid:', JSON.stringify(paid.body))
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error
    console.log('refused:', error.code, JSON.stringify(error.needs))
  }
}
await bank.close()
identity.stop()

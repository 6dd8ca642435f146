/**
 * The invoice service, as small as a service can be: it accepts gateways only, and only calls that a gateway
 * vouches for with a 30-second token. Start it with a join token:
 *
 *     SALLYPORT_JOIN_TOKEN=$(npx sallyport agent enroll invoices --kind service) node invoices.ts
 */
import { readFileSync } from 'node:fs'
import { createService, enrol } from '@sallyport/agent'

const identity = await enrol({
  planeTarget: {
    host: '127.0.0.1',
    port: Number(process.env['SALLYPORT_PLANE_PORT'] ?? 7401),
  },
  rootsPem: readFileSync('.sallyport/trust/ca.pem', 'utf8'),
  token: process.env['SALLYPORT_JOIN_TOKEN'] ?? '',
  trustDomain: 'starter.example',
})
identity.startRotation()

const invoice = {
  id: 'inv-1',
  status: 'open',
  amount: 12_500,
  currency: 'EUR',
  payeeIban: 'DE89370400440532013000',
  note: 'Please pay soon.',
}

await createService({
  identity,
  name: 'invoices',
  listen: { host: '127.0.0.1', port: 7201 },
  handler: (request, response, call) => {
    console.error(`${call.sub} → ${call.operation} (decision ${call.decision})`)
    if (request.method === 'POST') invoice.status = 'paid'
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ invoice }))
  },
})
console.error('the invoice service listens')

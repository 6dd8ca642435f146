/** What `launch.ts` launches: enrols, is admitted by the gateway through its two sockets, says `ready` and waits. */
import { readFileSync } from 'node:fs'
import { createClient, enrol } from '@sallyport/agent'

const socket = (name: string): { path: string } => ({
  path: (process.env[name] ?? '').replace(/^unix:/, ''),
})

const identity = await enrol({
  planeTarget: socket('SALLYPORT_PLANE'),
  rootsPem: readFileSync(process.env['SALLYPORT_ROOTS'] ?? '', 'utf8'),
  token: process.env['SALLYPORT_JOIN_TOKEN'] ?? '',
  trustDomain: process.env['SALLYPORT_TRUST_DOMAIN'] ?? '',
})
const client = createClient({ identity, gateway: socket('SALLYPORT_GATEWAY') })
await client.whoami()
process.stdout.write('ready\n')
process.on('SIGTERM', () => process.exit())
setInterval(() => undefined, 1000)

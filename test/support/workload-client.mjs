/** A Workload API client of a few lines over Node's own HTTP/2: shares no code with the server. Says what the first answer was. */
import { connect } from 'node:http2'
import { connect as dial } from 'node:net'

const [method = 'FetchX509SVID', body = ''] = process.argv.slice(2)
const path = new URL(process.env.SPIFFE_ENDPOINT_SOCKET ?? '').pathname
const session = connect('http://localhost', { createConnection: () => dial(path) })
const message = Buffer.from(body, 'hex')
const frame = Buffer.alloc(5)
frame.writeUInt32BE(message.length, 1)
const stream = session.request({
  ':method': 'POST',
  ':path': `/SpiffeWorkloadAPI/${method}`,
  'content-type': 'application/grpc',
  te: 'trailers',
  'workload.spiffe.io': 'true',
})
const status = (headers) => {
  if (headers['grpc-status'] === undefined) return
  if (headers['grpc-status'] !== '0') console.log(`status ${headers['grpc-status']}`)
  session.destroy()
}
stream.on('response', status)
stream.on('trailers', status)
stream.on('data', (data) => {
  const [id] = /spiffe:\/\/[a-z0-9.]+\/agent\/[a-z]+\/[a-z0-9]+/.exec(data.toString('latin1')) ?? []
  console.log(`id ${id}`)
  session.destroy()
})
stream.on('error', (error) => console.log(error.message))
stream.end(Buffer.concat([frame, message]))

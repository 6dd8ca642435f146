/** Loaded before a server that does not say which port it was given: tells it on standard error. */
import { Server } from 'node:net'

// Called on what it was called on.
const listen: unknown = Object.getOwnPropertyDescriptor(Server.prototype, 'listen')?.value
if (typeof listen !== 'function') throw new Error('servers do not listen')
Server.prototype.listen = function (this: Server, ...args: never[]) {
  this.once('listening', () => {
    const address = this.address()
    if (typeof address === 'object' && address) {
      process.stderr.write(`listening at port ${address.port}\n`)
    }
  })
  // As it was called: the overloads are the original's to tell apart.
  return Reflect.apply(listen, this, args) as Server
}

import { createServer } from 'node:net'

const SIOCGIFFLAGS = 0x8913
const SIOCSIFFLAGS = 0x8914
const AF_INET = 2
const SOCK_DGRAM = 2
/** `struct ifreq`: a name of 16 bytes, then, of its union, the flags. */
const IFREQ = 40
const FLAGS_AT = 16
const IFF_UP = 1

/** Runs in the network of a program: brings loopback up, listens on it, and hands the socket to the launcher, which stays outside. */
async function main(port: number): Promise<void> {
  await bringUp('lo')
  const server = createServer()
  server.once('error', (error) => {
    throw error
  })
  server.listen(port, '127.0.0.1', () => {
    process.send?.('listening', server, {}, () => {
      process.exit(0)
    })
  })
}

/** As `ip link set lo up`, which not every machine has. */
async function bringUp(name: string): Promise<void> {
  const { default: koffi } = await import('koffi')
  const library = koffi.load(null)
  const socket = library.func('int socket(int domain, int type, int protocol)')
  const ioctl = library.func('int ioctl(int fd, unsigned long request, _Inout_ void *ifreq)')
  const fd = Number(socket(AF_INET, SOCK_DGRAM, 0))
  const request = Buffer.alloc(IFREQ)
  request.write(name, 'latin1')
  if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, request) !== 0) throw new Error('no loopback')
  request.writeUInt16LE(request.readUInt16LE(FLAGS_AT) | IFF_UP, FLAGS_AT)
  if (ioctl(fd, SIOCSIFFLAGS, request) !== 0) throw new Error('loopback cannot be brought up')
}

await main(Number(process.argv[2]))

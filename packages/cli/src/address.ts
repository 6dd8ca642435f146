import { SallyportError } from '@sallyport/base'

/** Host and port of `127.0.0.1:7401` or `[::1]:7401`. */
export function target(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (!match || port > 65_535) {
    throw new SallyportError('SP_USAGE_ADDRESS', `\`${text}\` is not an address with a port`, {
      fix: 'write it as `127.0.0.1:7401`',
    })
  }
  return { host: match[1] ?? match[2] ?? '', port }
}

/** The same, or `unix:/run/points.sock`. */
export function listenTarget(text: string): { host: string; port: number } | { path: string } {
  const path = /^unix:(\/.+)$/.exec(text)?.[1]
  return path === undefined ? target(text) : { path }
}

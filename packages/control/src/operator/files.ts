import { readFile, realpath } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { extname, join, sep } from 'node:path'
import { SallyportError } from '@sallyport/base'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
  '.txt': 'text/plain; charset=utf-8',
  '.webmanifest': 'application/manifest+json',
}

/**
 * Serves the built console: files of known types inside `root` only, and `index.html` for every address that names no file, so that
 * a deep link opens the page it means.
 *
 * @throws SallyportError `SP_API_NOT_FOUND`, `SP_API_METHOD`
 */
export async function serveFile(
  root: string | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  pathname: string,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    throw new SallyportError('SP_API_METHOD', 'only `GET` works here')
  }
  if (root === undefined) {
    throw new SallyportError('SP_API_NOT_FOUND', 'the console is not built', {
      fix: 'Run `npm run build` in packages/console; the command line works without it.',
    })
  }
  const name = extname(pathname) === '' ? '/index.html' : pathname
  const content = await read(root, name)
  if (!content) throw new SallyportError('SP_API_NOT_FOUND', 'there is no such page')
  response.statusCode = 200
  response.setHeader('content-type', TYPES[extname(name)] ?? 'application/octet-stream')
  // Vite names what it puts there by its content.
  if (name.startsWith('/assets/')) {
    response.setHeader('cache-control', 'public, max-age=31536000, immutable')
  } else response.setHeader('cache-control', 'no-cache')
  response.setHeader('content-length', content.length)
  response.end(request.method === 'HEAD' ? undefined : content)
}

async function read(root: string, name: string): Promise<Buffer | undefined> {
  // No encoded separators, no dot segments, no hidden files; the type must be one we serve.
  if (!/^(?:\/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$/.test(name) || TYPES[extname(name)] === undefined) {
    return undefined
  }
  try {
    const top = await realpath(root)
    const path = await realpath(join(top, name))
    // A link may not lead out either.
    return path.startsWith(top + sep) ? await readFile(path) : undefined
  } catch {
    return undefined
  }
}

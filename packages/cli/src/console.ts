import { existsSync } from 'node:fs'

/** Where the built console lies, or undefined where it was not built (`npm run build -w @sallyport/console`). */
export function consoleDir(): string | undefined {
  const dir = new URL('../../console/dist/', import.meta.url).pathname
  return existsSync(`${dir}index.html`) ? dir : undefined
}

#!/usr/bin/env node
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// What was compiled is kept beside the modules, and nowhere else: whoever can write there can change the modules, too. A temporary
// folder would be anybody's. Where nothing can be written, nothing is kept.
enableCompileCache(join(import.meta.dirname, '../../../node_modules/.cache/sallyport'))

// Whoever reads what is printed may have enough of it: `sallyport audit tail | head`. Without a listener that would be a crash.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

const { main } = await import('../src/main.ts')
process.exitCode = await main(process.argv.slice(2))

/** `npm run conformance -- NAME [ARGUMENTS] [--json]`: what this repository must do exactly as others do. */
import { runModule } from './runner.ts'

/** Name → module; the corpora are read from `SALLYPORT_DATA`. */
const MODULES: ReadonlyMap<string, string> = new Map([
  ['cedar', 'cedar-corpus'],
  ['differential', 'differential'],
  ['mcp', 'mcp'],
])

const [name = '', ...rest] = process.argv.slice(2)
process.exitCode = await runModule([MODULES.get(name) ?? name, ...rest], [...MODULES.values()])

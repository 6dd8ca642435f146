/** `npm run bench -- NAME [--json]`: runs `bench/NAME.ts` and prints one object, or a table of it. */
import { runModule } from './runner.ts'

process.exitCode = await runModule(process.argv.slice(2), [
  'network',
  'policy',
  'identity',
  'gateway',
])

/** `npm start`: the reference network, `sallyport demo` with the arguments given. */
import { main } from '../packages/cli/src/main.ts'

process.exitCode = await main(['demo', ...process.argv.slice(2)])

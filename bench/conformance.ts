/** `npm run conformance -- NAME [--json]`: runs `bench/NAME-corpus.ts` on the data of `SALLYPORT_DATA`. */
import { runModule } from './runner.ts'

const [name = '', ...rest] = process.argv.slice(2)
process.exitCode = await runModule([`${name}-corpus`, ...rest], ['cedar-corpus'])

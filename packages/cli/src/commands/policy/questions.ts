import { Option } from 'commander'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { DataClass, Declaration } from '@sallyport/network'
import { createOutput } from '../../output.ts'
import { jsonOption } from '../../options.ts'
import { networkFileOf } from './replay.ts'

interface Options {
  readonly network: string
  readonly json?: boolean
}

const networkOption = (): Option =>
  new Option('--network <path>', 'network.yaml, or its directory').default('network.yaml')

/** Questions asked of a declaration alone: who can, what can, what if. */
export function addQuestions(policy: Command): void {
  policy
    .command('who-can')
    .description('every agent that can call an operation, and under which conditions')
    .argument('<system.operation>')
    .addOption(networkOption())
    .addOption(jsonOption())
    .action(async (operation: string, options: Options) => {
      const out = createOutput(options.json === true)
      const { whoCan, whoCanText } = await import('@sallyport/policy')
      out.data(await whoCan(await declaration(options), operation), whoCanText)
    })

  policy
    .command('what-can')
    .description('everything that an agent can do, and which fields it sees how')
    .argument('<agent>')
    .addOption(networkOption())
    .addOption(jsonOption())
    .action(async (agent: string, options: Options) => {
      const out = createOutput(options.json === true)
      const { whatCan, whatCanText } = await import('@sallyport/policy')
      out.data(await whatCan(await declaration(options), agent), whatCanText)
    })

  policy
    .command('what-if')
    .description('what changes when a field gets another class or other tags')
    .argument('<dataset.field>')
    .option('--class <class>', 'public, internal, confidential or restricted')
    .option('--tags <tags>', 'comma-separated, in place of the present ones; empty for none')
    .addOption(networkOption())
    .addOption(jsonOption())
    .action(async (field: string, options: Options & { class?: string; tags?: string }) => {
      const out = createOutput(options.json === true)
      if (options.class === undefined && options.tags === undefined) {
        throw new SallyportError('SP_USAGE_OPTION', 'neither a class nor tags are given', {
          fix: 'say what the field would be with `--class`, `--tags` or both',
        })
      }
      const asked = {
        field,
        ...(options.class === undefined ? {} : { class: await classOf(options.class) }),
        ...(options.tags === undefined ? {} : { tags: tagsOf(options.tags) }),
      }
      const { whatIf, whatIfText } = await import('@sallyport/policy')
      out.data(await whatIf(await declaration(options), asked), whatIfText)
    })
}

async function declaration({ network }: Options): Promise<Declaration> {
  const { loadDeclaration } = await import('@sallyport/network')
  return loadDeclaration({ networkFile: networkFileOf(network) })
}

async function classOf(text: string): Promise<DataClass> {
  const { DATA_CLASSES } = await import('@sallyport/network')
  const found = DATA_CLASSES.find((name) => name === text)
  if (found !== undefined) return found
  throw new SallyportError('SP_USAGE_OPTION', `\`${text.slice(0, 100)}\` is no class`, {
    fix: `use one of ${DATA_CLASSES.join(', ')}`,
  })
}

function tagsOf(text: string): string[] {
  const tags = text === '' ? [] : text.split(',').map((tag) => tag.trim())
  const bad = tags.find((tag) => !/^[a-z][a-z0-9-]{0,62}$/.test(tag))
  if (bad === undefined) return [...new Set(tags)]
  throw new SallyportError('SP_USAGE_OPTION', `\`${bad.slice(0, 100)}\` is no tag`, {
    fix: 'separate tags by commas, e.g. `--tags pii,contact`',
  })
}

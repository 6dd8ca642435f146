import type { Command } from 'commander'
import type { JsonValue } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { wholeNumber } from '../options.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import { createOutput, table, utc } from '../output.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import { readShares } from '../shares.ts'

/** `unseal`, and `keys`: what the holders of shares do, and the register of keys. Shares come from standard input, never as arguments. */
export function addKeys(program: Command): void {
  program
    .command('unseal')
    .description(
      'give a share, or several, to a sealed control plane (asked for, or from standard input)',
    )
    .option('--status', 'say how many shares were given, and give none')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions & { status?: boolean }) => {
      const out = createOutput(options.json === true)
      const admin = adminClient(dataDir(options))
      let status = await admin.get('/api/unseal')
      if (options.status !== true) {
        out.note(describe(status))
        for (const share of await readShares('share')) {
          status = await admin.post('/api/unseal', { share })
          if (members(status).state === 'unsealed') break
        }
      }
      out.data(status, describe)
    })

  const keys = program.command('keys').description('the keys of the network and their barrier')
  keys
    .command('list')
    .description('every key, with its age, its use and whether it could be exported')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const register = await adminClient(dataDir(options)).get('/api/keys')
      createOutput(options.json === true).data(register, describeRegister)
    })
  keys
    .command('rotate')
    .description('make a new data key for what is encrypted from now on')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const made = await adminClient(dataDir(options)).post('/api/keys/rotate', {})
      const say = (value: JsonValue): string => `data key ${textOf(members(value).term)} is in use`
      createOutput(options.json === true).data(made, say)
    })
  keys
    .command('rekey')
    .description(
      'make new shares, by a threshold of the present ones (asked for, or from standard input)',
    )
    .option('--shares <count>', 'shares to make', '5')
    .option('--threshold <count>', 'shares that unseal', '3')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions & { shares: string; threshold: string }) => {
      const out = createOutput(options.json === true)
      const admin = adminClient(dataDir(options))
      const held = members(await admin.get('/api/unseal')).shares !== undefined
      const made = await admin.post('/api/keys/rekey', {
        count: wholeNumber('--shares', options.shares),
        threshold: wholeNumber('--threshold', options.threshold),
        ...(held ? { authority: await readShares('present share') } : {}),
      })
      out.note(
        'hand the shares out, then run `sallyport keys confirm`; until then the old ones hold',
      )
      out.data(made, (value) => list(members(value).shares).map(textOf).join('\n'))
    })
  keys
    .command('confirm')
    .description('put the new shares in the place of the old ones, by a threshold of the new ones')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const shares = await readShares('new share')
      const status = await adminClient(dataDir(options)).post('/api/keys/rekey/confirm', { shares })
      createOutput(options.json === true).data(status, describe)
    })
  keys
    .command('cancel')
    .description('forget new shares that were not confirmed')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const status = await adminClient(dataDir(options)).post('/api/keys/rekey/cancel', {})
      createOutput(options.json === true).data(status, describe)
    })
}

function describe(value: JsonValue): string {
  const status = members(value)
  const state = textOf(status.state)
  if (status.shares === undefined) return state
  const { set, count, threshold, given } = members(status.shares)
  const has = state === 'unsealed' ? '' : `, ${textOf(given)} given`
  return `${state}: set ${textOf(set)}, ${textOf(threshold)} of ${textOf(count)} shares${has}`
}

function describeRegister(value: JsonValue): string {
  const { keys, terms } = members(value)
  const day = (at: JsonValue | undefined): string => utc(numberOf(at)).slice(0, 10)
  const signing = list(keys)
    .map(members)
    .map((key) => [
      textOf(key.name),
      textOf(key.algorithm),
      textOf(key.use),
      textOf(key.provider),
      key.exportable === true ? 'exportable' : 'stays',
      day(key.createdAt),
      typeof key.fingerprint === 'string' ? key.fingerprint.slice(0, 16) : '',
    ])
  const data = list(terms)
    .map(members)
    .map((term) => [
      `data ${textOf(term.term)}`,
      'aes256',
      term.active === true ? 'encrypt' : 'decrypt',
      'barrier',
      'wrapped',
      day(term.createdAt),
      '',
    ])
  const head = ['key', 'algorithm', 'use', 'where', 'export', 'made', 'fingerprint']
  return table(head, [...signing, ...data])
}

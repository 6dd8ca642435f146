import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { AuditRecord } from '@sallyport/wire'
import { adminClient } from '../admin.ts'
import { EXIT } from '../exit.ts'
import { createOutput, utc } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption, wholeNumber } from '../options.ts'
import { publicKeyIn, readGiven } from '../files.ts'
import { list, members } from '../shape.ts'

interface ShardOptions extends CommonOptions {
  readonly gateway?: string
  readonly control?: boolean
}

interface VerifyOptions extends ShardOptions {
  readonly key?: string
  readonly checkpoint?: string
  readonly checkpointFromControl?: boolean
}

interface Shard {
  readonly id: string
  readonly dir: string
  readonly origin: string
  readonly keyFile: string
}

/** The one gateway's shard under the data directory, the one that `--gateway` names, or with `--control` the control plane's. */
export function findShard(options: Pick<ShardOptions, 'data' | 'gateway' | 'control'>): Shard {
  if (options.control === true) return controlShard(dataDir(options))
  const root = join(dataDir(options), 'gateway')
  const ids = existsSync(root)
    ? readdirSync(root).filter((id) => existsSync(join(root, id, 'log')))
    : []
  const id = options.gateway ?? (ids.length === 1 ? ids[0] : undefined)
  if (id === undefined || !ids.includes(id)) {
    throw new SallyportError('SP_CONFIG_NO_LOG', 'there is no such audit log', {
      detail: `logs found under \`${root}\`: ${ids.join(', ') || 'none'}`,
      fix: 'name the gateway with --gateway and its data directory with --data',
    })
  }
  const originFile = join(root, id, 'log', 'origin')
  return {
    id,
    dir: join(root, id, 'log'),
    origin: readFileSync(originFile, 'utf8').trim(),
    keyFile: join(root, id, 'log.pub'),
  }
}

/** The shards of all gateways under the data directory, or the one that `--gateway` names. */
export function findShards(options: Pick<ShardOptions, 'data' | 'gateway'>): Shard[] {
  if (options.gateway !== undefined) return [findShard(options)]
  const root = join(dataDir(options), 'gateway')
  const ids = existsSync(root)
    ? readdirSync(root).filter((id) => existsSync(join(root, id, 'log')))
    : []
  if (ids.length === 0) return [findShard(options)]
  return ids.map((gateway) => findShard({ ...options, gateway }))
}

/** What the control plane decided for other enforcement points. */
function controlShard(data: string): Shard {
  const root = join(data, 'control')
  const dir = join(root, 'log')
  if (!existsSync(join(dir, 'origin'))) {
    throw new SallyportError('SP_CONFIG_NO_LOG', 'the control plane has no audit log of its own', {
      detail: `it begins with the first decision that an enforcement point asks for; none under \`${dir}\``,
      fix: 'name the data directory of the control plane with --data',
    })
  }
  const origin = readFileSync(join(dir, 'origin'), 'utf8').trim()
  return { id: 'control', dir, origin, keyFile: join(root, 'log.pub') }
}

export function addAudit(program: Command): void {
  const audit = program.command('audit').description('read and verify the audit log')

  audit
    .command('verify')
    .description('verify an audit log offline: every record, every checkpoint')
    .option('--gateway <id>', 'whose log')
    .option('--control', 'the log of the control plane itself')
    .option('--key <file>', 'public key of the log (PEM), got out of band')
    .option('--checkpoint <file>', 'an earlier checkpoint held elsewhere: finds truncation too')
    .option(
      '--checkpoint-from-control',
      'demand the checkpoint that the control plane holds; it is used anyway where one can be had',
    )
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: VerifyOptions) => {
      const out = createOutput(options.json === true)
      const shard = findShard(options)
      const held = await heldCheckpoint(options, shard)
      const { verifyLog } = await import('@sallyport/tlog')
      const result = await verifyLog({
        dir: shard.dir,
        origin: shard.origin,
        publicKey: publicKeyIn(options.key ?? shard.keyFile),
        ...(held === undefined ? {} : { checkpoint: held }),
      })
      if (options.checkpoint === undefined && held !== undefined) {
        out.note('note: compared with the checkpoint that the control plane holds')
      }
      if (!options.key) {
        out.note('note: the key came from the same directory as the log; use --key for proof')
      }
      out.data({ gateway: shard.id, origin: shard.origin, ...result }, (value) =>
        [
          `${value.ok ? 'verified' : 'NOT VERIFIED'}: ${value.statement}`,
          `records ${value.records}, under a checkpoint ${value.signed}, checkpoints ${value.checkpoints}`,
          ...value.problems.map(({ code, message }) => `${code}: ${message}`),
        ].join('\n'),
      )
      if (!result.ok) process.exitCode = EXIT.verification
    })

  audit
    .command('tail')
    .description('print the newest records')
    .option('--gateway <id>', 'whose log')
    .option('--control', 'the log of the control plane itself')
    .option('--count <n>', 'how many', '20')
    .option('--follow', 'go on as records are appended')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: ShardOptions & { count: string; follow?: boolean }) => {
      const shard = findShard(options)
      const count = wholeNumber('--count', options.count)
      let next = 0
      for (let first = true; first || options.follow === true; first = false) {
        const records = await readRecords(shard, next)
        const shown = first ? records.slice(Math.max(0, records.length - count)) : records
        for (const { index, record } of shown) {
          const line =
            options.json === true ? JSON.stringify({ index, ...record }) : describe(index, record)
          process.stdout.write(`${line}\n`)
        }
        next = (records.at(-1)?.index ?? next - 1) + 1
        if (options.follow === true) await sleep(500)
      }
    })

  audit
    .command('prove')
    .description('prove that a record is under the newest signed checkpoint (RFC 9162)')
    .argument('<index>')
    .option('--gateway <id>', 'whose log')
    .option('--control', 'the log of the control plane itself')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (text: string, options: ShardOptions) => {
      const out = createOutput(options.json === true)
      out.data(await prove(findShard(options), text), (value) => JSON.stringify(value, null, 2))
    })

  audit
    .command('export')
    .description('print every record as NDJSON, verified as it is read')
    .option('--gateway <id>', 'whose log')
    .option('--control', 'the log of the control plane itself')
    .addOption(dataOption())
    .action(async (options: ShardOptions) => {
      for (const { index, record } of await readRecords(findShard(options), 0)) {
        process.stdout.write(`${JSON.stringify({ index, ...record })}\n`)
      }
    })
}

/**
 * The checkpoint to compare with: the given one, or the newest that the control plane holds, where it runs.
 *
 * @throws SallyportError `SP_CONFIG_NO_CHECKPOINT`, `SP_CONFIG_NOT_RUNNING` where it was demanded and cannot be had
 */
async function heldCheckpoint(options: VerifyOptions, shard: Shard): Promise<string | undefined> {
  if (options.checkpoint !== undefined) return readGiven(options.checkpoint)
  const demanded = options.checkpointFromControl === true
  try {
    const { audit } = members(await adminClient(dataDir(options)).get('/api/health'))
    for (const entry of list(audit).map(members)) {
      if (entry.shard === shard.origin && typeof entry.checkpoint === 'string') {
        return entry.checkpoint
      }
    }
  } catch (error) {
    if (demanded) throw error
    return undefined
  }
  if (!demanded) return undefined
  throw new SallyportError('SP_CONFIG_NO_CHECKPOINT', 'the control plane holds no checkpoint', {
    detail: `of \`${shard.origin}\``,
    fix: 'let the gateway reach its control plane once, or give a checkpoint with --checkpoint',
  })
}

interface Proof {
  readonly origin: string
  readonly index: number
  readonly size: number
  /** The record itself, base64: its leaf is SHA-256(0x00 || record). */
  readonly record: string
  /** Sibling hashes from the leaf up, base64. */
  readonly hashes: readonly string[]
  /** The signed note that the proof leads to. */
  readonly checkpoint: string
}

/** Proves one record offline, from the files, and checks the proof as its reader would before handing it out. */
async function prove(shard: Shard, text: string): Promise<Proof> {
  const { inclusionProof, leafHash, parseCheckpoint, verifyInclusion, verifyLog } =
    await import('@sallyport/tlog')
  const publicKey = publicKeyIn(shard.keyFile)
  const notes = readFileSync(join(shard.dir, 'checkpoints'), 'utf8').split(
    /(?<==\n)(?=[^\n]+\n\d+\n)/,
  )
  const checkpoint = notes.at(-1) ?? ''
  const { size, root } = parseCheckpoint(checkpoint, publicKey, shard.origin)
  const index = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  const leaves: Buffer[] = []
  let record: Buffer | undefined
  await verifyLog({
    dir: shard.dir,
    origin: shard.origin,
    publicKey,
    onRecord: (at, bytes) => {
      if (at < size) leaves.push(leafHash(bytes))
      if (at === index && at < size) record = Buffer.from(bytes)
    },
  })
  if (!record) {
    throw new SallyportError(
      'SP_LOG_NO_RECORD',
      `there is no record \`${text}\` under the checkpoint`,
      {
        fix: `give an index from 0 to ${size - 1}`,
      },
    )
  }
  const hashes = inclusionProof(leaves, index)
  if (!verifyInclusion(leafHash(record), index, size, hashes, root)) {
    throw new SallyportError('SP_LOG_TAMPERED', 'the record does not lead to the signed checkpoint')
  }
  return {
    origin: shard.origin,
    index,
    size,
    record: record.toString('base64'),
    hashes: hashes.map((hash) => hash.toString('base64')),
    checkpoint,
  }
}

/** Reads the log by verifying it: nothing is printed that does not hash to what was written. */
async function readRecords(
  shard: Shard,
  from: number,
): Promise<{ index: number; record: AuditRecord }[]> {
  const { verifyLog } = await import('@sallyport/tlog')
  const { decodeRecord } = await import('@sallyport/wire')
  const records: { index: number; record: AuditRecord }[] = []
  const result = await verifyLog({
    dir: shard.dir,
    origin: shard.origin,
    publicKey: publicKeyIn(shard.keyFile),
    onRecord: (index, bytes) => {
      if (index >= from) records.push({ index, record: decodeRecord(bytes) })
    },
  })
  // A record that a running gateway is writing is no record yet.
  if (!result.ok && !result.torn) {
    const [problem] = result.problems
    throw new SallyportError(
      problem?.code ?? 'SP_LOG_TAMPERED',
      problem?.message ?? 'the log does not verify',
    )
  }
  return records
}

function describe(index: number, record: AuditRecord): string {
  const head = `${String(index).padStart(7)}  ${utc(record.at)}  ${record.kind.padEnd(13)}`
  switch (record.kind) {
    case 'decision':
      return `${head} ${record.decision.padEnd(5)} ${record.agent} → ${record.system}.${record.operation}  ${record.code}  ${record.id}`
    case 'outcome':
      return `${head} ${record.result} ${record.status} in ${record.durationMs} ms  ${record.decisionId}`
    case 'labels':
      return `${head} ${record.instance} + ${record.added.join(', ')}`
    case 'approval-used':
      return `${head} ${record.approvalId} by ${record.approvers.join(', ')}`
    case 'event': {
      const facts = Object.entries(record.facts).map(([name, value]) => `${name}=${value}`)
      const words = [record.event, record.code ?? '', record.subject ?? '', ...facts]
      // What somebody else said may be in them: a terminal obeys some characters.
      const line = words.filter((word) => word !== '').join(' ')
      return `${head} ${line.replaceAll(/\p{Cc}/gu, ' ')}`
    }
  }
}

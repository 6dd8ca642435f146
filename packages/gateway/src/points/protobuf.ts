import { Refusal } from '../refusal.ts'

/** A field of a message, as it stands on the wire (Protocol Buffers encoding, "Message Structure"). */
interface Field {
  readonly number: number
  /** Of a number: 64 bits, as they stand. Of everything else: its bytes. */
  readonly value: bigint | Buffer
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const malformed = (detail: string): Refusal =>
  new Refusal('SP_POINT_REQUEST', 'the question cannot be read', { status: 400, detail })

/**
 * Reads the fields of a message in order. Groups, which no message here has, are refused.
 *
 * @throws Refusal `SP_POINT_REQUEST`
 */
function readFields(bytes: Buffer): Field[] {
  const fields: Field[] = []
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++]
      if (byte === undefined) throw malformed('it ends within a number')
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    throw malformed('a number is too long')
  }
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) throw malformed('it ends within a field')
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const key = Number(varint())
    const [number, kind] = [Math.floor(key / 8), key % 8]
    if (number < 1 || number > 0x1fff_ffff) throw malformed('a field has no number')
    if (kind === 0) fields.push({ number, value: varint() })
    else if (kind === 1) fields.push({ number, value: take(8) })
    else if (kind === 2) fields.push({ number, value: take(Number(varint())) })
    else if (kind === 5) fields.push({ number, value: take(4) })
    else throw malformed('a field is of no known kind')
  }
  return fields
}

/** One message, of which each field that is asked for by name may stand once only: what stands twice has two readings. */
export class Message {
  readonly #fields: readonly Field[]

  /** @throws Refusal `SP_POINT_REQUEST` */
  constructor(bytes: Buffer) {
    this.#fields = readFields(bytes)
  }

  /** @returns undefined where the field is absent */
  bytes(number: number): Buffer | undefined {
    const found = this.all(number)
    if (found.length > 1) throw malformed(`field ${number} stands twice`)
    return found[0]
  }

  text(number: number): string {
    return textOf(this.bytes(number) ?? Buffer.alloc(0))
  }

  message(number: number): Message | undefined {
    const bytes = this.bytes(number)
    return bytes && new Message(bytes)
  }

  /** Every value of a repeated field. */
  all(number: number): readonly Buffer[] {
    return this.#fields.flatMap(({ number: own, value }) => {
      if (own !== number) return []
      if (typeof value === 'bigint') throw malformed(`field ${number} is a number`)
      return [value]
    })
  }
}

/** @throws Refusal `SP_POINT_REQUEST` where it is not UTF-8 */
export function textOf(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw malformed('a text is not UTF-8')
  }
}

/** Writes a field: a text, bytes, or a number from 0. */
export function field(number: number, value: string | Buffer | number): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number * 8), varint(value)])
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let left = value
  while (left >= 0x80) {
    bytes.push((left % 0x80) + 0x80)
    left = Math.floor(left / 0x80)
  }
  bytes.push(left)
  return Buffer.from(bytes)
}

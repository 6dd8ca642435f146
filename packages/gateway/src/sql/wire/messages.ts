import { BodyReader, int16, int32, message, text } from './frames.ts'

/** Fields of an error or a notice by their letters (PostgreSQL, section 54.8). */
export type ErrorFields = Readonly<Record<string, string>>

export function errorResponse(fields: ErrorFields): Buffer {
  const parts = Object.entries(fields).map(([letter, value]) => text(`${letter}${oneLine(value)}`))
  return message('E', ...parts, '\0')
}

const oneLine = (value: string): string => value.replaceAll('\0', '').toWellFormed()

export function errorFields(body: Buffer): ErrorFields {
  const reader = new BodyReader(body)
  const fields: Record<string, string> = {}
  for (let letter = reader.byte(); letter !== 0; letter = reader.byte()) {
    fields[String.fromCharCode(letter)] = reader.text()
  }
  return ended(reader, fields)
}

export const ready = (status: string): Buffer => message('Z', status)
export const commandComplete = (tag: string): Buffer => message('C', text(tag))
export const parameterStatus = (name: string, value: string): Buffer =>
  message('S', text(name), text(value))

export interface ParseMessage {
  readonly name: string
  readonly sql: string
  readonly oids: readonly number[]
}

export function readParse(body: Buffer): ParseMessage {
  const reader = new BodyReader(body)
  const [name, sql] = [reader.text(), reader.text()]
  const oids = counted(reader, () => reader.uint32())
  return ended(reader, { name, sql, oids })
}

export const parse = ({ name, sql, oids }: ParseMessage): Buffer =>
  message('P', text(name), text(sql), int16(oids.length), ...oids.map(uint32))

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export interface BindMessage {
  readonly portal: string
  readonly statement: string
  readonly formats: readonly number[]
  readonly values: readonly (Buffer | null)[]
  readonly resultFormats: readonly number[]
}

export function readBind(body: Buffer): BindMessage {
  const reader = new BodyReader(body)
  const [portal, statement] = [reader.text(), reader.text()]
  const formats = counted(reader, () => format(reader))
  const values = counted(reader, () => {
    const length = reader.int32()
    return length === -1 ? null : reader.bytes(length)
  })
  const resultFormats = counted(reader, () => format(reader))
  return ended(reader, { portal, statement, formats, values, resultFormats })
}

/** In one buffer: this is done twice for every statement. */
export function bind({ portal, statement, formats, values, resultFormats }: BindMessage): Buffer {
  const names = Buffer.from(`${portal}\0${statement}\0`)
  let size = 4 + names.length + 6 + 2 * (formats.length + resultFormats.length)
  for (const value of values) size += 4 + (value?.length ?? 0)
  const bound = Buffer.allocUnsafe(1 + size)
  bound.writeUInt8(BIND, 0)
  let at = bound.writeUInt32BE(size, 1)
  at += names.copy(bound, at)
  at = bound.writeUInt16BE(formats.length, at)
  for (const one of formats) at = bound.writeUInt16BE(one, at)
  at = bound.writeUInt16BE(values.length, at)
  for (const value of values) {
    at = bound.writeInt32BE(value?.length ?? -1, at)
    if (value) at += value.copy(bound, at)
  }
  at = bound.writeUInt16BE(resultFormats.length, at)
  for (const one of resultFormats) at = bound.writeUInt16BE(one, at)
  return bound
}

const BIND = 0x42

/** Text (0) or binary (1). */
function format(reader: BodyReader): number {
  const value = reader.uint16()
  if (value !== 0 && value !== 1) throw new RangeError('a format that is neither text nor binary')
  return value
}

function counted<T>(reader: BodyReader, read: () => T): T[] {
  const count = reader.uint16()
  const items: T[] = []
  for (let i = 0; i < count; i++) items.push(read())
  return items
}

function ended<T>(reader: BodyReader, value: T): T {
  if (!reader.done) throw new RangeError('a message with more in it than there should be')
  return value
}

export interface Named {
  readonly kind: 'S' | 'P'
  readonly name: string
}

/** Of Describe and Close. */
export function readNamed(body: Buffer): Named {
  const reader = new BodyReader(body)
  const kind = String.fromCharCode(reader.byte())
  if (kind !== 'S' && kind !== 'P') throw new RangeError('neither a statement nor a portal')
  return ended(reader, { kind, name: reader.text() })
}

export const describe = ({ kind, name }: Named): Buffer => message('D', kind, text(name))
export const close = ({ kind, name }: Named): Buffer => message('C', kind, text(name))

export function readExecute(body: Buffer): { readonly portal: string; readonly most: number } {
  const reader = new BodyReader(body)
  const portal = reader.text()
  return ended(reader, { portal, most: Math.max(0, reader.int32()) })
}

export const execute = (portal: string, most: number): Buffer =>
  message('E', text(portal), int32(most))

export function readText(body: Buffer): string {
  const reader = new BodyReader(body)
  return ended(reader, reader.text())
}

export const query = (sql: string): Buffer => message('Q', text(sql))

export const SYNC: Buffer = message('S')
export const FLUSH: Buffer = message('H')
export const TERMINATE: Buffer = message('X')
export const PARSE_COMPLETE: Buffer = message('1')
export const BIND_COMPLETE: Buffer = message('2')
export const CLOSE_COMPLETE: Buffer = message('3')
export const NO_DATA: Buffer = message('n')
export const EMPTY_QUERY: Buffer = message('I')
export const NO_PARAMETERS: Buffer = message('t', int16(0))

/** A RowDescription without where its columns come from: numbers of tables and columns are the database's own business. */
export function strippedDescription(body: Buffer): Buffer {
  const reader = new BodyReader(body)
  const parts = counted(reader, () => {
    const name = text(reader.text())
    reader.bytes(6)
    return [name, Buffer.alloc(6), reader.bytes(12)]
  })
  return message('T', int16(parts.length), ...ended(reader, parts).flat())
}

/** Types of the columns in a RowDescription. */
export function columnTypes(body: Buffer): number[] {
  const reader = new BodyReader(body)
  const types = counted(reader, () => {
    reader.text()
    reader.bytes(6)
    const type = reader.uint32()
    reader.bytes(8)
    return type
  })
  return ended(reader, types)
}

/** Tells every value of a DataRow that is not null, and its place. */
export function eachValue(body: Buffer, tell: (value: Buffer, at: number) => void): void {
  const reader = new BodyReader(body)
  const count = reader.uint16()
  for (let i = 0; i < count; i++) {
    const length = reader.int32()
    if (length !== -1) tell(reader.bytes(length), i)
  }
  ended(reader, undefined)
}

/**
 * A DataRow with some of its columns replaced.
 *
 * @param change of each value that is not null; what is null stays so
 */
export function changedRow(
  body: Buffer,
  changes: ReadonlyMap<number, (value: Buffer) => Buffer>,
): Buffer {
  const reader = new BodyReader(body)
  const count = reader.uint16()
  const values: (Buffer | undefined)[] = []
  // The message's length, the number of its columns, and the length of each.
  let size = 6 + 4 * count
  for (let i = 0; i < count; i++) {
    const length = reader.int32()
    const value = length === -1 ? undefined : reader.bytes(length)
    const changed = value && (changes.get(i)?.(value) ?? value)
    values.push(changed)
    size += changed?.length ?? 0
  }
  ended(reader, values)
  // One buffer for all of it: this is done for every row that leaves.
  const row = Buffer.allocUnsafe(1 + size)
  row.writeUInt8(DATA_ROW, 0)
  row.writeUInt32BE(size, 1)
  row.writeUInt16BE(count, 5)
  let at = 7
  for (const value of values) {
    at = row.writeInt32BE(value?.length ?? -1, at)
    if (value) at += value.copy(row, at)
  }
  return row
}

const DATA_ROW = 0x44

import { endianness } from 'node:os'
import { isAbsolute } from 'node:path'
import { SallyportError } from '@sallyport/base'
import type { LibraryHandle } from 'koffi'
import { CKF, CKR, returnName } from './constants.ts'

export type FunctionName =
  | 'C_Initialize'
  | 'C_Finalize'
  | 'C_GetSlotList'
  | 'C_GetTokenInfo'
  | 'C_GetMechanismList'
  | 'C_OpenSession'
  | 'C_CloseSession'
  | 'C_CloseAllSessions'
  | 'C_Login'
  | 'C_DestroyObject'
  | 'C_GetAttributeValue'
  | 'C_FindObjectsInit'
  | 'C_FindObjects'
  | 'C_FindObjectsFinal'
  | 'C_EncryptInit'
  | 'C_Encrypt'
  | 'C_DecryptInit'
  | 'C_Decrypt'
  | 'C_SignInit'
  | 'C_Sign'
  | 'C_GenerateKey'
  | 'C_GenerateKeyPair'

/** Places of functions in CK_FUNCTION_LIST (v2.40), with their parameters: `u` CK_ULONG, `p` pointer, `b` CK_BBOOL. */
const FUNCTIONS: Readonly<Record<FunctionName, readonly [place: number, parameters: string]>> = {
  C_Initialize: [0, 'p'],
  C_Finalize: [1, 'p'],
  C_GetSlotList: [4, 'bpp'],
  C_GetTokenInfo: [6, 'up'],
  C_GetMechanismList: [7, 'upp'],
  C_OpenSession: [12, 'uuppp'],
  C_CloseSession: [13, 'u'],
  C_CloseAllSessions: [14, 'u'],
  C_Login: [18, 'uupu'],
  C_DestroyObject: [22, 'uu'],
  C_GetAttributeValue: [24, 'uupu'],
  C_FindObjectsInit: [26, 'upu'],
  C_FindObjects: [27, 'upup'],
  C_FindObjectsFinal: [28, 'u'],
  C_EncryptInit: [29, 'upu'],
  C_Encrypt: [30, 'upupp'],
  C_DecryptInit: [33, 'upu'],
  C_Decrypt: [34, 'upupp'],
  C_SignInit: [42, 'upu'],
  C_Sign: [43, 'upupp'],
  C_GenerateKey: [58, 'uppup'],
  C_GenerateKeyPair: [59, 'uppupupp'],
}

type Argument = bigint | number | Buffer | null

const TYPES: Readonly<Record<string, string>> = { u: 'ulong', p: 'void *', b: 'uchar' }
const POINTER = 8
/** CK_VERSION and its padding come before the pointers. */
const LIST_HEAD = 8
const LIST_FUNCTIONS = 68

/** A loaded and initialised PKCS#11 module: one a path in a process, since C_Initialize counts for the process. */
export class Pkcs11Module {
  readonly path: string
  readonly addressOf: (buffer: Buffer) => bigint
  readonly #functions: ReadonlyMap<FunctionName, (...args: Argument[]) => unknown>
  users = 0

  constructor(
    path: string,
    addressOf: (buffer: Buffer) => bigint,
    functions: ReadonlyMap<FunctionName, (...args: Argument[]) => unknown>,
  ) {
    this.path = path
    this.addressOf = addressOf
    this.#functions = functions
  }

  /** The return value (CK_RV) as it is. */
  call(name: FunctionName, ...args: Argument[]): number {
    const call = this.#functions.get(name)
    if (!call) throw badModule(this.path, `it has no ${name}`)
    return Number(call(...args))
  }

  /** @throws ReturnError unless it returns CKR_OK */
  must(name: FunctionName, ...args: Argument[]): void {
    const value = this.call(name, ...args)
    if (value !== CKR.ok) throw new ReturnError(name, value)
  }
}

const loaded = new Map<string, Promise<Pkcs11Module>>()
/**
 * Libraries, for good: koffi unloads one that nothing refers to, and functions that were found by their address do not refer to it. Nor would
 * a module with threads or exit handlers bear being unloaded.
 */
const libraries = new Map<string, LibraryHandle>()

/**
 * Loads a PKCS#11 module, or gives the one that is loaded. Its code runs in this process: the path has to be absolute and the operator's.
 *
 * @throws SallyportError `SP_HSM_MODULE`
 */
export async function useModule(path: string): Promise<Pkcs11Module> {
  let module = loaded.get(path)
  if (!module) {
    module = load(path)
    loaded.set(path, module)
    module.catch(() => loaded.delete(path))
  }
  const found = await module
  found.users++
  return found
}

/** The last user's leaving finalises the module. */
export function leaveModule(module: Pkcs11Module): void {
  if (--module.users > 0) return
  loaded.delete(module.path)
  module.call('C_Finalize', null)
}

async function load(path: string): Promise<Pkcs11Module> {
  if (!isAbsolute(path)) throw badModule(path, 'its path is not absolute')
  // Loaded on use: who keeps keys in files needs no native code.
  const { default: koffi } = await import('koffi')
  if (koffi.sizeof('ulong') !== POINTER || endianness() !== 'LE') {
    throw badModule(path, 'only 64-bit little-endian Unix systems are supported')
  }
  const functions = new Map<FunctionName, (...args: Argument[]) => unknown>()
  try {
    const library = libraries.get(path) ?? koffi.load(path)
    libraries.set(path, library)
    const getFunctionList = library.func('ulong C_GetFunctionList(_Out_ void **list)')
    const out: [bigint | null] = [null]
    const value = Number(getFunctionList(out))
    if (value !== CKR.ok || out[0] === null) throw new ReturnError('C_GetFunctionList', value)
    const size = LIST_HEAD + LIST_FUNCTIONS * POINTER
    const list = Buffer.from(koffi.view(out[0], size))
    if (list[0] !== 2 && list[0] !== 3) throw new Error(`it speaks version ${list[0]}`)
    for (const [name, [place, parameters]] of Object.entries(FUNCTIONS)) {
      const pointer = list.readBigUInt64LE(LIST_HEAD + place * POINTER)
      if (pointer === 0n) throw new Error(`it has no ${name}`)
      const proto = koffi.proto(
        'ulong',
        parameters.split('').map((letter) => TYPES[letter] ?? 'void'),
      )
      // The keys of FUNCTIONS, by its own type.
      functions.set(name as FunctionName, koffi.decode(pointer, proto))
    }
  } catch (cause) {
    throw badModule(path, cause instanceof Error ? cause.message : String(cause), cause)
  }
  const module = new Pkcs11Module(path, (buffer) => koffi.address(buffer), functions)
  // CK_C_INITIALIZE_ARGS: no mutexes of ours, the module uses the system's.
  const args = Buffer.alloc(6 * POINTER)
  args.writeBigUInt64LE(BigInt(CKF.osLocking), 4 * POINTER)
  const value = module.call('C_Initialize', args)
  if (value !== CKR.ok && value !== CKR.cryptokiAlreadyInitialized) {
    throw badModule(path, `C_Initialize returned ${returnName(value)}`)
  }
  return module
}

/** A return value other than CKR_OK, on its way to where it gets a code. */
export class ReturnError extends Error {
  override readonly name = 'ReturnError'
  readonly returned: number

  constructor(what: string, returned: number) {
    super(`${what} returned ${returnName(returned)}`)
    this.returned = returned
  }
}

function badModule(path: string, detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_HSM_MODULE', `\`${path}\` cannot be used as a PKCS#11 module`, {
    detail,
    fix: 'name the absolute path of the shared library that came with the key store',
    cause,
  })
}

/** Numbers of PKCS#11 v2.40 that are used here (OASIS, pkcs11t.h). */
export const CKO = { publicKey: 2, privateKey: 3, secretKey: 4 } as const
export const CKK = { ec: 0x03, aes: 0x1f, ecEdwards: 0x40 } as const
export const CKU_USER = 1
export const CKF = {
  rwSession: 0x02,
  serialSession: 0x04,
  osLocking: 0x02,
  userPinCountLow: 0x10000,
  userPinFinalTry: 0x20000,
  userPinLocked: 0x40000,
} as const

export const CKA = {
  class: 0x00,
  token: 0x01,
  private: 0x02,
  label: 0x03,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  encrypt: 0x104,
  decrypt: 0x105,
  wrap: 0x106,
  unwrap: 0x107,
  sign: 0x108,
  verify: 0x10a,
  derive: 0x10c,
  startDate: 0x110,
  valueLen: 0x161,
  extractable: 0x162,
  modifiable: 0x170,
  ecParams: 0x180,
  ecPoint: 0x181,
} as const

export const CKM = {
  ecKeyPairGen: 0x1040,
  ecdsa: 0x1041,
  edwardsKeyPairGen: 0x1055,
  eddsa: 0x1057,
  aesKeyGen: 0x1080,
  aesGcm: 0x1087,
} as const

export const CKR = {
  ok: 0x00,
  deviceError: 0x30,
  deviceRemoved: 0x32,
  keyHandleInvalid: 0x60,
  objectHandleInvalid: 0x82,
  operationActive: 0x90,
  pinIncorrect: 0xa0,
  pinInvalid: 0xa1,
  pinLenRange: 0xa2,
  pinExpired: 0xa3,
  pinLocked: 0xa4,
  sessionClosed: 0xb0,
  sessionHandleInvalid: 0xb3,
  tokenNotPresent: 0xe0,
  tokenNotRecognized: 0xe1,
  userAlreadyLoggedIn: 0x100,
  userNotLoggedIn: 0x101,
  userPinNotInitialized: 0x102,
  cryptokiNotInitialized: 0x190,
  cryptokiAlreadyInitialized: 0x191,
} as const

/** Names of further return values that a person may meet. */
const OTHER_NAMES: Readonly<Record<number, string>> = {
  0x02: 'CKR_HOST_MEMORY',
  0x05: 'CKR_GENERAL_ERROR',
  0x06: 'CKR_FUNCTION_FAILED',
  0x07: 'CKR_ARGUMENTS_BAD',
  0x10: 'CKR_ATTRIBUTE_READ_ONLY',
  0x11: 'CKR_ATTRIBUTE_SENSITIVE',
  0x12: 'CKR_ATTRIBUTE_TYPE_INVALID',
  0x13: 'CKR_ATTRIBUTE_VALUE_INVALID',
  0x20: 'CKR_DATA_INVALID',
  0x21: 'CKR_DATA_LEN_RANGE',
  0x31: 'CKR_DEVICE_MEMORY',
  0x40: 'CKR_ENCRYPTED_DATA_INVALID',
  0x54: 'CKR_FUNCTION_NOT_SUPPORTED',
  0x63: 'CKR_KEY_TYPE_INCONSISTENT',
  0x68: 'CKR_KEY_FUNCTION_NOT_PERMITTED',
  0x70: 'CKR_MECHANISM_INVALID',
  0x71: 'CKR_MECHANISM_PARAM_INVALID',
  0xb1: 'CKR_SESSION_COUNT',
  0xb5: 'CKR_SESSION_READ_ONLY',
  0xc0: 'CKR_SIGNATURE_INVALID',
  0xd0: 'CKR_TEMPLATE_INCOMPLETE',
  0xd1: 'CKR_TEMPLATE_INCONSISTENT',
  0xe2: 'CKR_TOKEN_WRITE_PROTECTED',
}

/** `CKR_DEVICE_REMOVED`, or the number in hex. */
export function returnName(value: number): string {
  const [own] = Object.entries(CKR).find(([, number]) => number === value) ?? []
  if (own) return `CKR_${own.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
  return OTHER_NAMES[value] ?? `0x${value.toString(16)}`
}

import { americas } from './americas.ts'
import { asia } from './asia.ts'
import { contact } from './contact.ts'
import { dates, month } from './dates.ts'
import { europe } from './europe.ts'
import { payment } from './payment.ts'
import type { Recogniser } from './recogniser.ts'
import { secrets } from './secrets.ts'

/** All that are tried at words. */
export const RECOGNISERS: readonly Recogniser[] = [
  ...secrets,
  ...payment,
  ...contact,
  ...americas,
  ...europe,
  ...asia,
  ...dates,
  month,
]

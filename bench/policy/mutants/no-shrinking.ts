/** For processes that run mutants: that a property fails is all that is asked, not by which smallest example. */
import fc from 'fast-check'

fc.configureGlobal({ endOnFailure: true })

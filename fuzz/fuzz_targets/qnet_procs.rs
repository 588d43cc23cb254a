//! libFuzzer's way into [`keelson_fuzz::targets::qnet_procs`]; without libFuzzer, runs the files named as arguments.
#![cfg_attr(fuzzing, no_main)]

keelson_fuzz::target!(qnet_procs);

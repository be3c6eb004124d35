//! Engines that are called through C: LightGBM and XGBoost by their libraries, lleaves and tl2cgen by what they compiled.

#![allow(unsafe_code, reason = "other engines can only be called through C")]

use std::error::Error;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use libloading::Library;
use retain_core::Rows;

use crate::engine::ScoringEngine;

const LIGHTGBM_F64: c_int = 1;
const LIGHTGBM_PARAMETERS: &CStr = c"num_threads=1";
/// Raw scores of all iterations.
const XGBOOST_PREDICT: &CStr = cr#"{"type":1,"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":false,
    "missing":NaN,"cache_id":0}"#;

type LastError = unsafe extern "C" fn() -> *const c_char;

/// A function of a library that stays loaded: engines live as long as the process.
fn function<F: Copy>(library: &'static Library, name: &str) -> Result<F, Box<dyn Error>> {
    // SAFETY: every caller names the type that the library's header gives this function; the library is never unloaded.
    Ok(*unsafe { library.get::<F>(name)? })
}

fn load(path: &Path) -> Result<&'static Library, Box<dyn Error>> {
    // SAFETY: these are the engines themselves; their initialisers set up threads and tables, and nothing of ours.
    let library = unsafe { Library::new(path) }.map_err(|error| format!("cannot load `{}`: {error}", path.display()))?;
    Ok(Box::leak(Box::new(library)))
}

fn check(code: c_int, last_error: LastError) -> Result<(), String> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: both libraries return a text that ends with 0 and lives until the next call.
    Err(unsafe { CStr::from_ptr(last_error()) }.to_string_lossy().into_owned())
}

fn c_path(path: &Path) -> Result<CString, Box<dyn Error>> {
    Ok(CString::new(path.to_str().ok_or("a path that is no UTF-8")?)?)
}

type SingleRowFast = unsafe extern "C" fn(*const c_void, *const c_void, *mut i64, *mut f64) -> c_int;
type SingleRowFastInit =
    unsafe extern "C" fn(*const c_void, c_int, c_int, c_int, c_int, i32, *const c_char, *mut *const c_void) -> c_int;
type PredictForMat = unsafe extern "C" fn(
    *const c_void,
    *const c_void,
    c_int,
    i32,
    i32,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_char,
    *mut i64,
    *mut f64,
) -> c_int;

/// What LightGBM is prepared to answer of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Margin,
    Contributions,
}

/// LightGBM through its C interface, raw scores in `f64`.
pub(crate) struct LightGbm {
    booster: *const c_void,
    /// What it prepares for calls of one row each.
    prepared: *const c_void,
    answer: Answer,
    single: SingleRowFast,
    batch: PredictForMat,
    last_error: LastError,
    /// Contributions of some rows, each with the base margin at its end.
    room: Vec<f64>,
}

impl Answer {
    /// LightGBM's number of it.
    fn kind(self) -> c_int {
        match self {
            Self::Margin => 1,
            Self::Contributions => 3,
        }
    }
}

impl LightGbm {
    pub(crate) fn open(library: &Path, model: &Path, n_features: usize, answer: Answer) -> Result<Self, Box<dyn Error>> {
        type Create = unsafe extern "C" fn(*const c_char, *mut c_int, *mut *const c_void) -> c_int;
        let library = load(library)?;
        let create: Create = function(library, "LGBM_BoosterCreateFromModelfile")?;
        let prepare: SingleRowFastInit = function(library, "LGBM_BoosterPredictForMatSingleRowFastInit")?;
        let single: SingleRowFast = function(library, "LGBM_BoosterPredictForMatSingleRowFast")?;
        let batch: PredictForMat = function(library, "LGBM_BoosterPredictForMat")?;
        let last_error: LastError = function(library, "LGBM_GetLastError")?;
        let (model, mut n_iterations, mut booster, mut prepared) = (c_path(model)?, 0, ptr::null(), ptr::null());
        let (kind, parameters) = (answer.kind(), LIGHTGBM_PARAMETERS.as_ptr());
        // SAFETY: the texts end with 0, and all results have room.
        unsafe {
            check(create(model.as_ptr(), &raw mut n_iterations, &raw mut booster), last_error)?;
            check(prepare(booster, kind, 0, -1, LIGHTGBM_F64, n_features as i32, parameters, &raw mut prepared), last_error)?;
        }
        Ok(Self { booster, prepared, answer, single, batch, last_error, room: vec![0.0; n_features + 1] })
    }

    /// Contributions of one row, the base margin last.
    pub(crate) fn contributions(&mut self, row: &[f64]) -> &[f64] {
        assert_eq!(self.answer, Answer::Contributions);
        let (mut n_written, room) = (0, self.room.as_mut_ptr());
        // SAFETY: the row has as many numbers as were said when this was prepared, and there is room for one result more.
        let code = unsafe { (self.single)(self.prepared, row.as_ptr().cast(), &raw mut n_written, room) };
        assert_eq!(check(code, self.last_error), Ok(()));
        &self.room[..n_written as usize]
    }

    /// Contributions of rows that lie one after another.
    pub(crate) fn batch_of_contributions(&mut self, values: &[f64], n_features: usize) -> &[f64] {
        let n_rows = values.len() / n_features;
        self.room.resize(n_rows * (n_features + 1), 0.0);
        self.predict(values, n_features, Answer::Contributions);
        &self.room
    }

    fn predict(&mut self, values: &[f64], n_features: usize, answer: Answer) {
        let (n_rows, mut n_written) = (values.len() / n_features, 0);
        // SAFETY: the values are so many rows of so many numbers, and the callers made room for the results of this kind.
        let code = unsafe {
            (self.batch)(
                self.booster,
                values.as_ptr().cast(),
                LIGHTGBM_F64,
                n_rows as i32,
                n_features as i32,
                1,
                answer.kind(),
                0,
                -1,
                LIGHTGBM_PARAMETERS.as_ptr(),
                &raw mut n_written,
                self.room.as_mut_ptr(),
            )
        };
        assert_eq!(check(code, self.last_error), Ok(()));
        assert_eq!(n_written as usize, self.room.len());
    }
}

impl ScoringEngine for LightGbm {
    fn one(&mut self, rows: &Rows, row_idx: usize) -> f64 {
        assert_eq!(self.answer, Answer::Margin);
        let (mut margin, mut n_written, row) = (0.0, 0, rows.row(row_idx).as_ptr().cast());
        // SAFETY: the row has as many numbers as were said when this was prepared, and a margin is one number.
        let code = unsafe { (self.single)(self.prepared, row, &raw mut n_written, &raw mut margin) };
        assert_eq!(check(code, self.last_error), Ok(()));
        margin
    }

    fn batch(&mut self, rows: &Rows, margins: &mut Vec<f64>) {
        margins.resize(rows.n_rows(), 0.0);
        std::mem::swap(&mut self.room, margins);
        self.predict(rows.values(), rows.n_features(), Answer::Margin);
        std::mem::swap(&mut self.room, margins);
    }
}

type PredictFromDense = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *const c_void,
    *mut *const u64,
    *mut u64,
    *mut *const f32,
) -> c_int;

/// XGBoost through its C interface, without a `DMatrix`.
pub(crate) struct XgBoost {
    booster: *mut c_void,
    predict: PredictFromDense,
    last_error: LastError,
    /// The words by which a call names its rows, made beforehand: each row alone, then all.
    arrays: Vec<CString>,
}

impl XgBoost {
    pub(crate) fn open(library: &Path, model: &Path, rows: &Rows) -> Result<Self, Box<dyn Error>> {
        type Create = unsafe extern "C" fn(*const *mut c_void, u64, *mut *mut c_void) -> c_int;
        type Load = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
        type Set = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> c_int;
        let library = load(library)?;
        let create: Create = function(library, "XGBoosterCreate")?;
        let read: Load = function(library, "XGBoosterLoadModel")?;
        let set: Set = function(library, "XGBoosterSetParam")?;
        let last_error: LastError = function(library, "XGBGetLastError")?;
        let (model, mut booster) = (c_path(model)?, ptr::null_mut());
        // SAFETY: no matrix is given and none is counted; all texts end with 0, and the result has room.
        unsafe {
            check(create(ptr::null(), 0, &raw mut booster), last_error)?;
            check(set(booster, c"nthread".as_ptr(), c"1".as_ptr()), last_error)?;
            check(read(booster, model.as_ptr()), last_error)?;
        }
        let array = |values: &[f64], n_rows: usize| {
            let (at, n_features) = (values.as_ptr() as usize, rows.n_features());
            CString::new(format!(r#"{{"data":[{at},true],"shape":[{n_rows},{n_features}],"typestr":"<f8","version":3}}"#))
        };
        let mut arrays = rows.in_order().map(|row| array(row, 1)).collect::<Result<Vec<_>, _>>()?;
        arrays.push(array(rows.values(), rows.n_rows())?);
        Ok(Self { booster, predict: function(library, "XGBoosterPredictFromDense")?, last_error, arrays })
    }

    fn predict(&self, array: &CStr, n_rows: usize) -> &[f32] {
        let (mut shape, mut n_dimensions, mut margins) = (ptr::null(), 0, ptr::null());
        let (array, configuration) = (array.as_ptr(), XGBOOST_PREDICT.as_ptr());
        // SAFETY: the array's words were made of rows that outlive this engine, and all results have room.
        let code = unsafe {
            (self.predict)(
                self.booster,
                array,
                configuration,
                ptr::null(),
                &raw mut shape,
                &raw mut n_dimensions,
                &raw mut margins,
            )
        };
        assert_eq!(check(code, self.last_error), Ok(()));
        // SAFETY: the call succeeded, so there is a margin for each row, until the next call.
        unsafe { std::slice::from_raw_parts(margins, n_rows) }
    }
}

impl ScoringEngine for XgBoost {
    fn one(&mut self, _: &Rows, row_idx: usize) -> f64 {
        self.predict(&self.arrays[row_idx], 1)[0].into()
    }

    fn batch(&mut self, rows: &Rows, margins: &mut Vec<f64>) {
        margins.clear();
        margins.extend(self.predict(&self.arrays[rows.n_rows()], rows.n_rows()).iter().copied().map(f64::from));
    }
}

/// What lleaves compiled: rows from one to before another, results one after the other.
pub(crate) struct Lleaves {
    root: unsafe extern "C" fn(*const f64, *mut f64, c_int, c_int),
}

impl Lleaves {
    pub(crate) fn open(compiled: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(Self { root: function(load(compiled)?, "forest_root")? })
    }
}

impl ScoringEngine for Lleaves {
    fn one(&mut self, rows: &Rows, row_idx: usize) -> f64 {
        let mut margin = 0.0;
        // SAFETY: it reads one row of the model's features and writes one number.
        unsafe { (self.root)(rows.row(row_idx).as_ptr(), &raw mut margin, 0, 1) };
        margin
    }

    fn batch(&mut self, rows: &Rows, margins: &mut Vec<f64>) {
        margins.resize(rows.n_rows(), 0.0);
        // SAFETY: it reads so many rows of the model's features and writes a number for each.
        unsafe { (self.root)(rows.values().as_ptr(), margins.as_mut_ptr(), 0, rows.n_rows() as c_int) };
    }
}

/// How code from tl2cgen wants a value: missing by −1, which is no number's lower half but that of some NaN.
#[repr(C)]
#[derive(Clone, Copy)]
union Entry {
    missing: c_int,
    value: f64,
    rank: c_int,
}

/// What tl2cgen made and a C compiler compiled. It overwrites its row, so every call begins with a copy.
pub(crate) struct Tl2cgen {
    predict: unsafe extern "C" fn(*mut Entry, c_int, *mut f64),
    row: Vec<Entry>,
}

impl Tl2cgen {
    pub(crate) fn open(compiled: &Path, n_features: usize) -> Result<Self, Box<dyn Error>> {
        Ok(Self { predict: function(load(compiled)?, "predict")?, row: vec![Entry { rank: 0 }; n_features] })
    }
}

impl ScoringEngine for Tl2cgen {
    fn one(&mut self, rows: &Rows, row_idx: usize) -> f64 {
        for (entry, &value) in self.row.iter_mut().zip(rows.row(row_idx)) {
            *entry = if value.is_nan() { Entry { missing: -1 } } else { Entry { value } };
        }
        let mut margin = 0.0;
        // SAFETY: the row has the model's features, and a model of one class writes one number.
        unsafe { (self.predict)(self.row.as_mut_ptr(), 1, &raw mut margin) };
        margin
    }

    /// One row after the other, as tl2cgen's own runtime does.
    fn batch(&mut self, rows: &Rows, margins: &mut Vec<f64>) {
        margins.clear();
        for row_idx in 0..rows.n_rows() {
            let margin = self.one(rows, row_idx);
            margins.push(margin);
        }
    }
}

/// Loads a library, so that loading a model later does not pay for it.
pub(crate) fn preload(library: &Path) -> Result<(), Box<dyn Error>> {
    load(library).map(|_| ())
}
